//! LIST patterns.

/// Longer patterns match nothing: no name is that long.
const PATTERN_MAX: usize = 1000;

/// Whether `name` matches: `*` stands for anything, `%` for anything within one level. Linear in the product of the
/// lengths. INBOX matches in any case.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    if pattern.len() > PATTERN_MAX {
        return false;
    }
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let inbox = name == b"INBOX";
    // reach[n]: the pattern so far matches the first n octets.
    let mut reach = vec![false; name.len() + 1];
    reach[0] = true;
    for &p in pattern {
        if matches!(p, b'*' | b'%') {
            for n in 0..name.len() {
                reach[n + 1] |= reach[n] && (p == b'*' || name[n] != b'.');
            }
        } else {
            for n in (0..name.len()).rev() {
                let same = name[n] == p || inbox && name[n].eq_ignore_ascii_case(&p);
                reach[n + 1] = reach[n] && same;
            }
            reach[0] = false;
        }
    }
    reach[name.len()]
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn wildcards_match_as_rfc_3501_says() {
        for (pattern, name) in [
            ("*", "a.b"),
            ("%", "a"),
            ("a.%", "a.b"),
            ("*b", "a.b"),
            ("inbox", "INBOX"),
            ("in%", "INBOX"),
            ("%.%", "a.b"),
            ("a*b*c", "aXbYbc"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("%", "a.b"), ("a", "ab"), ("", "a"), ("a.%", "a.b.c"), ("A", "a"), ("%b", "a.b")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(!matches(&"%*".repeat(10_000), "a"));
    }
}
