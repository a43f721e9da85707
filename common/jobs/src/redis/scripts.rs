//! What happens inside Redis in one step: pushing behind the gate, settling what a worker left, collecting
//! what is finished. apalis-redis fetches and acknowledges with scripts of its own, so these keep to its
//! layout: `data` (hash, id → payload), `meta:{id}` (hash), `active` (list of ids), `done` (set of ids),
//! `workers` (sorted set) and `inflight:{worker}` (set of ids), each behind the queue's name.
//!
//! Time is the server's (`TIME`), never a process's: clocks of processes may be minutes apart.

use std::sync::LazyLock;

use redis::Script;

/// Milliseconds by the server's clock, as the local `now`.
const NOW: &str = "local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
";

fn script(body: &str) -> Script {
    Script::new(&format!("{NOW}{body}"))
}

/// Takes a job in if the gate is open, and rings the bell if workers may have found the queue empty.
/// Keys: active, data, seq, bytes. Arguments: payload, most entries, most bytes, what ids are prefixed with
/// in `meta`, the bell's channel, what to say there. Answers {taken, entries}.
///
/// Ids are counted, so that they sort by arrival. The meta fields are those that apalis-redis cannot do
/// without, and `at`.
pub(super) static PUSH: LazyLock<Script> = LazyLock::new(|| {
    script(
        "local entries = redis.call('LLEN', KEYS[1])
local bytes = tonumber(redis.call('GET', KEYS[4]) or 0)
if entries >= tonumber(ARGV[2]) or bytes + #ARGV[1] > tonumber(ARGV[3]) then
  return {0, entries}
end
local id = redis.call('INCR', KEYS[3])
redis.call('HSET', KEYS[2], id, ARGV[1])
redis.call('HSET', ARGV[4] .. id, 'attempts', 0, 'max_attempts', 1, 'status', 'Pending', 'at', now)
redis.call('RPUSH', KEYS[1], id)
redis.call('INCRBY', KEYS[4], #ARGV[1])
if entries == 0 then redis.call('PUBLISH', ARGV[5], ARGV[6]) end
return {1, entries + 1}",
    )
});

/// How full a queue is. Keys: active, bytes. Argument: the meta prefix. Answers {entries, bytes, age of the
/// oldest entry in ms}.
pub(super) static DEPTH: LazyLock<Script> = LazyLock::new(|| {
    script(
        "local oldest = redis.call('LINDEX', KEYS[1], 0)
local at = oldest and redis.call('HGET', ARGV[1] .. oldest, 'at') or now
return {
  redis.call('LLEN', KEYS[1]),
  tonumber(redis.call('GET', KEYS[2]) or 0),
  math.max(0, now - tonumber(at)),
}",
    )
});

/// Says that a worker lives, and asks who has not said so for long, or said so at a time that is still to
/// come: the server's clock was set back, and who lives has said so again since. Key: alive. Arguments: the
/// worker's name, after how many ms of silence a worker counts as dead. Answers {now in ms, {dead workers}}.
pub(super) static BEAT: LazyLock<Script> = LazyLock::new(|| {
    script(
        "redis.call('ZADD', KEYS[1], now, ARGV[1])
local function beaten(from, to)
  return redis.call('ZRANGEBYSCORE', KEYS[1], from, to, 'LIMIT', 0, 16)
end
local silent = beaten('-inf', now - tonumber(ARGV[2]))
for _, name in ipairs(beaten(now + tonumber(ARGV[2]), '+inf')) do table.insert(silent, name) end
return {now, silent}",
    )
});

/// Takes entries off a worker's hands. What it fetched and never began waits again at the front, oldest
/// first. What it began stays with it, and, in the last step, is done: it ended, and its acknowledgement
/// was lost. Keys: alive, workers, the worker's inflight, active, data, done, the worker's metadata.
/// Arguments: the worker's name, after how many ms of silence that may be (negative: always, for the worker
/// itself), 1 for the last step, the meta prefix, the bell's channel, what to say there, then the ids that it
/// began. Answers how many wait again, or -1 if the worker lives after all.
///
/// An id whose payload is gone is dropped: fetching it would end every worker that tries. A worker that is
/// not on the books can fetch no more.
pub(super) static SETTLE: LazyLock<Script> = LazyLock::new(|| {
    script(
        "local silence, last = tonumber(ARGV[2]), ARGV[3] == '1'
if silence >= 0 then
  local beat = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if not beat or math.abs(now - tonumber(beat)) < silence then return -1 end
end
redis.call('ZREM', KEYS[2], ARGV[1])
local begun = {}
for i = 7, #ARGV do begun[ARGV[i]] = true end
local ids = redis.call('SMEMBERS', KEYS[3])
table.sort(ids, function(a, b) return tonumber(a) > tonumber(b) end)
local again = 0
for _, id in ipairs(ids) do
  if not begun[id] then
    redis.call('SREM', KEYS[3], id)
    if redis.call('HEXISTS', KEYS[5], id) == 1 then
      redis.call('LPUSH', KEYS[4], id)
      again = again + 1
    else
      redis.call('DEL', ARGV[4] .. id)
    end
  elseif last then
    redis.call('SMOVE', KEYS[3], KEYS[6], id)
  end
end
if last then
  redis.call('DEL', KEYS[7])
  redis.call('ZREM', KEYS[1], ARGV[1])
end
if again > 0 then redis.call('PUBLISH', ARGV[5], ARGV[6]) end
return again",
    )
});

/// Forgets one slice of finished entries: apalis-redis itself keeps them for ever. Keys: done, data, bytes.
/// Arguments: how many, the meta prefix. Answers how many it forgot.
pub(super) static COLLECT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local ids = redis.call('SPOP', KEYS[1], ARGV[1])
if #ids == 0 then return 0 end
local freed, meta = 0, {}
for i, id in ipairs(ids) do
  freed = freed + redis.call('HSTRLEN', KEYS[2], id)
  meta[i] = ARGV[2] .. id
end
redis.call('HDEL', KEYS[2], unpack(ids))
redis.call('DEL', unpack(meta))
redis.call('DECRBY', KEYS[3], freed)
return #ids",
    )
});

/// What changes when the server lost what it held: the moment when its memory was new, and the server's run.
/// Key: epoch.
pub(super) static EPOCH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local epoch = redis.call('GET', KEYS[1])
if not epoch then
  local t = redis.call('TIME')
  epoch = t[1] .. '.' .. t[2]
  redis.call('SET', KEYS[1], epoch)
end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
return epoch .. '-' .. run",
    )
});
