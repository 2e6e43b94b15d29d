//! The page at `/`: plain ES modules, embedded; it uses the public protocol alone. Sources in `page/`.

const FILES: &[(&str, &str, &[u8])] = &[
    ("/", "text/html; charset=utf-8", include_bytes!("page/index.html")),
    ("/page/style.css", "text/css; charset=utf-8", include_bytes!("page/style.css")),
    ("/page/main.js", "text/javascript; charset=utf-8", include_bytes!("page/main.js")),
    ("/page/client.js", "text/javascript; charset=utf-8", include_bytes!("page/client.js")),
    ("/page/book.js", "text/javascript; charset=utf-8", include_bytes!("page/book.js")),
    ("/page/icon.svg", "image/svg+xml", include_bytes!("page/icon.svg")),
];

/// The content type and bytes of a file of the page.
pub(crate) fn file(path: &str) -> Option<(&'static str, &'static [u8])> {
    FILES.iter().find(|(name, ..)| *name == path).map(|(_, kind, bytes)| (*kind, *bytes))
}
