//! APIs that clients dial: WebSocket protocol, health, metrics, the page
