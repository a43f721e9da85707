//! Cursors. That of connected accounts is sealed for the partner and the list's filters: it says nothing, opens
//! nowhere else, and one that was changed is refused. Those of lists that count pages are the number of a page.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use latchkey_domain::{ConnectionId, PartnerId, Timestamp};
use latchkey_runtime::SealError;
use latchkey_store::ListingKey;
use secrecy::ExposeSecret;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{error::ApiError, reply::Result, state::Api};

/// What cursors are sealed for.
const TABLE: &str = "cursors";

/// Where the next page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// After this row.
    pub(crate) after: ListingKey,
    /// Its number, from 2.
    pub(crate) page: u32,
}

/// What a list is of: cursors of one open in no other.
pub(crate) fn list_of(description: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(description))
}

/// The cursor of a place.
pub(crate) async fn write(
    api: &Api,
    partner: PartnerId,
    list: &str,
    place: Place,
) -> Result<String> {
    let mut plain = Vec::with_capacity(28);
    plain.extend(place.after.updated_at.as_micros().to_be_bytes());
    plain.extend(place.after.id.as_u128().to_be_bytes());
    plain.extend(place.page.to_be_bytes());
    let sealed = api
        .ctx
        .sealer
        .seal(partner, TABLE, "connected_accounts", list, 0, &plain);
    Ok(BASE64_URL_SAFE_NO_PAD.encode(sealed.await?))
}

/// The place of a cursor.
///
/// # Errors
/// 400 naming `cursor`, for one that this list did not give out.
pub(crate) async fn read(api: &Api, partner: PartnerId, list: &str, text: &str) -> Result<Place> {
    let refused = || {
        ApiError::field(
            "cursor",
            "is not one that this list gave out: cursors go with the filters and the order they came with",
        )
    };
    let sealed = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| refused())?;
    let sealer = &api.ctx.sealer;
    let opened = sealer
        .open(partner, TABLE, "connected_accounts", list, 0, &sealed)
        .await;
    let plain = match opened {
        Ok(plain) => plain,
        Err(error @ SealError::Store { .. }) => return Err(error.into()),
        Err(_) => return Err(refused()),
    };
    let plain: [u8; 28] = plain.expose_secret().try_into().map_err(|_| refused())?;
    let (updated, rest) = plain.split_first_chunk().ok_or_else(refused)?;
    let (id, page) = rest.split_first_chunk().ok_or_else(refused)?;
    let page = page.try_into().map_err(|_| refused())?;
    Ok(Place {
        after: ListingKey {
            updated_at: Timestamp::from_micros(i64::from_be_bytes(*updated)),
            id: ConnectionId::from_u128(u128::from_be_bytes(*id)),
        },
        page: u32::from_be_bytes(page),
    })
}

/// Page and limit of a cursor of a list that counts pages: base64 of `{"page":2,"limit":10}`.
pub(crate) fn read_page(text: &str) -> Option<(u32, u32)> {
    #[derive(Deserialize)]
    struct Counted {
        page: u32,
        limit: u32,
    }
    let decoded = [
        BASE64_STANDARD,
        BASE64_STANDARD_NO_PAD,
        BASE64_URL_SAFE_NO_PAD,
    ]
    .iter()
    .find_map(|engine| engine.decode(text).ok())?;
    let counted: Counted = serde_json::from_slice(&decoded).ok()?;
    let fits = (1..=1_000_000).contains(&counted.page) && (1..=100).contains(&counted.limit);
    fits.then_some((counted.page, counted.limit))
}
