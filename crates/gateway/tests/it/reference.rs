//! Checks that the reference pages are current.

use std::fs;
use std::path::Path;

use voxgate_gateway::reference;

#[test]
fn the_page_of_settings_is_current() {
    compare("settings.md", &reference::settings_page());
}

#[test]
fn the_page_of_the_command_line_is_current() {
    compare("cli.md", &reference::cli_page());
}

#[test]
fn the_page_of_request_headers_is_current() {
    compare("headers.md", &reference::headers_page());
}

#[test]
fn the_tables_of_the_page_of_dialects_are_current() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/dialects.md");
    let page = fs::read_to_string(page).unwrap();
    let current = reference::dialects_page(&page).expect("each table has its markers");
    compare("dialects.md", &current);
}

/// `UPDATE_REFERENCE=1` writes the page.
pub(super) fn compare(name: &str, expected: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let page = folder.join(name);
    let written = fs::read_to_string(&page).unwrap_or_default();
    if written == expected {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_REFERENCE").is_some(),
        "docs/reference/{name} is out of date; run: UPDATE_REFERENCE=1 cargo test reference"
    );
    fs::create_dir_all(folder).unwrap();
    fs::write(page, expected).unwrap();
}
