//! The table of attacks names tests that exist.

#[test]
fn every_attack_has_a_test_that_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut sources, mut dirs) = (String::new(), vec![root.join("src"), root.join("tests/it")]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => sources.push_str(&std::fs::read_to_string(path).unwrap()),
            }
        }
    }
    let table = std::fs::read_to_string(root.join("tests/ATTACKS.md")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 16);
    for row in rows {
        let names: Vec<&str> = row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            // Figures are checked where promises are.
            assert!(name.starts_with("figure:") || sources.contains(&format!("fn {name}(")), "{name}");
        }
    }
}
