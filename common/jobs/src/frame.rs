//! A frame of a JSON head and a raw body: how requests and answers with bodies of any content type travel
//! sealed, without the third that base64 would add.

use serde::{Serialize, de::DeserializeOwned};

/// Bytes that are no frame of the wanted head.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Shorter than it says it is.
    #[error("the frame is cut short")]
    Short,
    /// The head does not read.
    #[error("the head of the frame does not read")]
    Head(#[source] serde_json::Error),
}

/// Packs a head and a body: four bytes of head length (little endian), the head as JSON, the body.
///
/// # Errors
/// [`FrameError::Head`] if the head does not serialize.
pub fn pack<H: Serialize>(head: &H, body: &[u8]) -> Result<Vec<u8>, FrameError> {
    let head = serde_json::to_vec(head).map_err(FrameError::Head)?;
    let length = u32::try_from(head.len()).map_err(|_| FrameError::Short)?;
    let mut out = Vec::with_capacity(4 + head.len() + body.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(body);
    Ok(out)
}

/// Unpacks what [`pack`] packed.
///
/// # Errors
/// [`FrameError`] for any other bytes.
pub fn unpack<H: DeserializeOwned>(frame: &[u8]) -> Result<(H, &[u8]), FrameError> {
    let (length, rest) = frame.split_first_chunk::<4>().ok_or(FrameError::Short)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| FrameError::Short)?;
    let (head, body) = rest.split_at_checked(length).ok_or(FrameError::Short)?;
    Ok((
        serde_json::from_slice(head).map_err(FrameError::Head)?,
        body,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_back_and_cut_ones_are_refused() {
        let frame = pack(&("head", 1), &[0, 255, 10]).unwrap();
        let (head, body): ((String, u8), _) = unpack(&frame).unwrap();
        assert_eq!(
            (head.0.as_str(), head.1, body),
            ("head", 1, &[0, 255, 10][..])
        );
        for cut in [0, 3, 8] {
            assert!(unpack::<(String, u8)>(&frame[..cut]).is_err());
        }
        assert!(matches!(unpack::<u8>(&frame), Err(FrameError::Head(_))));
    }
}
