//! Which hash slot of a cluster has a key.

/// A cluster has this many hash slots
/// (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).
pub(crate) const HASH_SLOTS: u16 = 16384;

/// The hash slot of a key: CRC-16/XMODEM of its hash tag, which is the text between the first `{`
/// and the next `}`. Every key of this crate has one.
pub(crate) fn hash_slot(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty());
    crc16(tag.unwrap_or(key).as_bytes()) % HASH_SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for &byte in bytes {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the specification, and what `CLUSTER KEYSLOT` says.
    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, slot) in [
            ("foo", 12182),
            ("{foo}:bar", 12182),
            ("foo{}bar", hash_slot("foo{}bar")),
            ("{user1000}.following", hash_slot("user1000")),
            ("foo{{bar}}zap", hash_slot("{bar")),
            ("foo{bar}{zap}", hash_slot("bar")),
        ] {
            assert_eq!(hash_slot(key), slot, "{key}");
        }
    }
}
