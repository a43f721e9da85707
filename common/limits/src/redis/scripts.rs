//! The scripts of [`RedisLimits`](super::RedisLimits). Times are µs; a time that a test holds still comes as the first
//! argument, which is empty otherwise.

use std::sync::LazyLock;

use redis::Script;

/// What [`TAKE`] answers first when the plan has no permit.
pub(super) const BY_PLAN: u8 = 0;
/// What [`TAKE`] answers first when the provider allows no request.
pub(super) const BY_PROVIDER: u8 = 1;

/// What every script begins with.
const NOW: &str = "local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000000 + t[2]
end
";

/// Looks at one partner's bucket, the first key. Arguments: the time, for how many ms to keep what is full again, µs
/// between two calls, burst. Leaves the µs until a call is allowed (`wait`) and how many could go at once (`free`).
///
/// `tat` is GCRA's theoretical arrival time: when the bucket is full again. A bucket that was written under another
/// rate has as many calls used as then.
const PLAN: &str =
    "local kept, interval, burst = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local was = redis.call('HMGET', KEYS[1], 'tat', 'interval')
local used = math.max(0, (tonumber(was[1]) or 0) - now)
local interval_then = tonumber(was[2]) or interval
if interval_then ~= interval then used = math.ceil(used / interval_then) * interval end
used = math.min(used, burst * interval)
local wait = math.max(0, used - (burst - 1) * interval)
local free = math.floor((burst * interval - used) / interval)
";

fn script(parts: &[&str]) -> Script {
    Script::new(&parts.concat())
}

/// Looks at a partner's permit. Key and arguments: [`PLAN`]'s. Answers {µs to wait, how many at once}.
pub(super) static PEEK: LazyLock<Script> =
    LazyLock::new(|| script(&[NOW, PLAN, "return {wait, free}"]));

/// Takes a permit and a request from each published budget, or nothing. Keys: the partner's bucket, what may be called
/// spent, the published budgets. Arguments: [`PLAN`]'s, how many keys may be called spent, then for each published
/// budget the µs that earn a request and the µs that may be owed. Answers {by whom it was refused, µs to wait, how
/// many more at once}.
pub(super) static TAKE: LazyLock<Script> = LazyLock::new(|| {
    script(&[
        NOW,
        PLAN,
        "if wait > 0 then return {0, wait, 0} end
local first = 2 + tonumber(ARGV[5])
local rests, by = 0, {}
if #KEYS > 1 then by = redis.call('MGET', unpack(KEYS, 2)) end
for i = 2, #KEYS do
  local at, room = tonumber(by[i - 1]) or 0, 0
  if i >= first then room = tonumber(ARGV[7 + 2 * (i - first)]) end
  by[i - 1] = math.max(at, now)
  rests = math.max(rests, at - now - room)
end
if rests > 0 then return {1, rests, 0} end
for i = first, #KEYS do
  local earned = by[i - 1] + tonumber(ARGV[6 + 2 * (i - first)])
  local ms = math.ceil((earned - now) / 1000) + kept
  redis.call('SET', KEYS[i], string.format('%d', earned), 'PX', string.format('%d', ms))
end
used = used + interval
redis.call('HSET', KEYS[1], 'tat', now + used, 'interval', interval)
redis.call('PEXPIRE', KEYS[1], math.ceil(used / 1000) + kept)
return {2, 0, free - 1}",
    ])
});

/// Gives away one partner's next turn, no sooner than a permit. Keys: the bucket, the last turn. Arguments: [`PLAN`]'s,
/// µs between two turns. Answers {µs until a permit, how many at once, µs until the turn}.
pub(super) static TURN: LazyLock<Script> = LazyLock::new(|| {
    script(&[
        NOW,
        PLAN,
        "local turn = now + wait
local last = tonumber(redis.call('GET', KEYS[2]))
if last then turn = math.max(turn, last + tonumber(ARGV[5])) end
local ms = math.ceil((turn - now) / 1000) + kept
redis.call('SET', KEYS[2], string.format('%d', turn), 'PX', string.format('%d', ms))
return {wait, free, turn - now}",
    ])
});

/// Notes a budget as spent. Key: the budget. Arguments: the time, and for how many µs.
pub(super) static SPENT: LazyLock<Script> = LazyLock::new(|| {
    script(&[
        NOW,
        "local span = tonumber(ARGV[2])
local ms = string.format('%d', math.ceil(span / 1000) + 1)
redis.call('SET', KEYS[1], string.format('%d', now + span), 'PX', ms)",
    ])
});

/// Counts the workers that live. Key: the members. Arguments: this worker or nothing, seconds of silence.
pub(super) static BEAT_ONCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local now = tonumber(redis.call('TIME')[1])
if ARGV[1] ~= '' then redis.call('ZADD', KEYS[1], now, ARGV[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. (now - tonumber(ARGV[2])))
return redis.call('ZCARD', KEYS[1])",
    )
});
