//! `docs/data-dictionary.md` is what the code writes. `WHOLETAPE_BLESS=1` writes it anew.

#[test]
fn the_data_dictionary_is_fresh() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/data-dictionary.md");
    let page = wholetape_store::dictionary::page().unwrap();
    if std::env::var_os("WHOLETAPE_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let held = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        held == page,
        "docs/data-dictionary.md is stale: WHOLETAPE_BLESS=1 cargo test -p wholetape-store --test dictionary"
    );
}
