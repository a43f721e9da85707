#[test]
fn the_catalogue_loads() {
    latchkey_providers::Catalog::load(None)
        .map_err(|e| e.to_string())
        .unwrap();
}
