//! The hash slot of a key, as the specification of the cluster says
//! (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).
//!
//! The simulated cluster does not use the gateway's own function: both would have the same fault.

/// The hash slot of a key: CRC-16/XMODEM of what is between the first `{` and the next `}`.
pub(crate) fn hash_slot(key: &[u8]) -> u16 {
    let tag = || {
        let begin = key.iter().position(|byte| *byte == b'{')? + 1;
        let length = key[begin..].iter().position(|byte| *byte == b'}')?;
        Some(&key[begin..begin + length]).filter(|tag| !tag.is_empty())
    };
    let crc = tag().unwrap_or(key).iter().fold(0, |crc: u16, byte| {
        crc << 8 ^ step(crc >> 8 ^ u16::from(*byte))
    });
    crc % 16384
}

fn step(byte: u16) -> u16 {
    (0..8).fold(byte << 8, |crc, _| match crc >> 15 {
        0 => crc << 1,
        _ => crc << 1 ^ 0x1021,
    })
}

#[cfg(test)]
mod tests {
    use super::hash_slot;

    #[test]
    fn the_examples_of_the_specification() {
        assert_eq!(hash_slot(b"123456789"), 0x31C3);
        assert_eq!(hash_slot(b"foo"), 12182);
        assert_eq!(hash_slot(b"{foo}:bar"), 12182);
        assert_eq!(hash_slot(b"foo{{bar}}zap"), hash_slot(b"{bar"));
        assert_eq!(hash_slot(b"foo{bar}{zap}"), hash_slot(b"bar"));
    }
}
