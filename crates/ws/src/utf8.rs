//! UTF-8 judged piece by piece: a wrong byte is told at once, a character cut by the end of a piece is waited for.

/// How far a growing text was looked at.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Progress {
    /// Everything before is whole characters.
    good: usize,
}

/// Not UTF-8, whatever may follow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invalid;

impl Progress {
    /// Looks at what came to `text` since the last look. `last`: nothing follows.
    pub fn look(&mut self, text: &[u8], last: bool) -> Result<(), Invalid> {
        match std::str::from_utf8(&text[self.good..]) {
            Ok(_) => self.good = text.len(),
            Err(e) if e.error_len().is_some() || last => return Err(Invalid),
            // At most three bytes of a character that goes on are left, and looked at again.
            Err(e) => self.good += e.valid_up_to(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The length after which a text given byte by byte is refused.
    fn refused_at(bytes: &[u8]) -> Option<usize> {
        let mut progress = Progress::default();
        (1..=bytes.len()).find(|n| progress.look(&bytes[..*n], false).is_err())
    }

    #[test]
    fn the_first_impossible_byte_is_told() {
        let check = |bytes: &[u8], expected: Option<usize>| assert_eq!(refused_at(bytes), expected, "{bytes:x?}");
        check("κόσμε".as_bytes(), None);
        check(&[0xc3], None);
        check(&[0xce, 0xba, 0xe1, 0xbd, 0xb9, 0xed, 0xa0, 0x80], Some(7)); // a surrogate
        check(&[0xf4, 0x90, 0x80, 0x80], Some(2)); // beyond U+10FFFF
        check(&[0xc0, 0xaf], Some(1)); // an overlong form
        check(&[0xe0, 0x80, 0x80], Some(2));
        check(&[b'a', 0x80], Some(2));
        check(&[0xf0, 0x9f, 0x98, b'a'], Some(4));
    }

    #[test]
    fn a_cut_character_ends_no_text() {
        assert_eq!(Progress::default().look("é".as_bytes(), true), Ok(()));
        assert_eq!(Progress::default().look(&[b'a', 0xc3], true), Err(Invalid));
    }

    proptest! {
        #[test]
        fn as_the_standard_library(bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..24),
            ".{0,12}".prop_map(String::into_bytes),
        ], cuts in proptest::collection::vec(0_usize..24, 0..6)) {
            let mut progress = Progress::default();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.sort_unstable();
            let whole = cuts.iter().all(|c| progress.look(&bytes[..*c], false).is_ok())
                && progress.look(&bytes, true).is_ok();
            prop_assert_eq!(whole, std::str::from_utf8(&bytes).is_ok());
        }
    }
}
