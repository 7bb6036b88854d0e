//! The text forms of addresses that people write: `host:port`.
//! Never looks a name up.

use std::net::Ipv6Addr;

/// Longest `host:port`, in bytes: a full domain name and a port.
const HOST_PORT_BYTES_MAX: usize = 253 + 6;

/// Whether a text is `host:port`: a name, an IPv4 address or an IPv6 address in brackets, and a
/// port from 1 to 65535.
#[must_use]
pub fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let is_port = !port.starts_with('+') && port.parse::<u16>().is_ok_and(|port| port > 0);
    is_port && text.len() <= HOST_PORT_BYTES_MAX && is_host(host)
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    }
    is_host_name(host)
}

/// Whether a text can be a host name or an IPv4 address.
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::is_host_port;

    #[test]
    fn tells_host_and_port_from_anything_else() {
        for good in ["mx1.example:1027", "10.0.0.1:1", "[::1]:65535", "localhost:25"] {
            assert!(is_host_port(good), "{good}");
        }
        for bad in [
            "",
            ":",
            ":25",
            "mx1",
            "mx1:",
            "mx1:0",
            "mx1:65536",
            "mx1:+25",
            "::1:25",
            "[::1]",
            "[::1:25",
            "m x:25",
            "mx1:25\n",
            "a..b:25",
            "-a:25",
            "[mx1]:25",
        ] {
            assert!(!is_host_port(bad), "{bad}");
        }
    }
}
