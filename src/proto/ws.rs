//! Upgrade tokens, as far as a proxy needs them: a tunnel's bytes are never looked at.

use super::head::list_has;

/// True when an `Upgrade` value offers WebSocket.
pub fn is_websocket(upgrade: &[u8]) -> bool {
    list_has(upgrade, b"websocket")
}

#[cfg(test)]
mod tests {
    #[test]
    fn websocket_is_a_list_element() {
        assert!(super::is_websocket(b"h2c, WebSocket"));
        assert!(!super::is_websocket(b"websockets"));
    }
}
