//! The gateway's own figures, as Prometheus text.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use wholetape_model::Class;
use wholetape_ws::Sent;

use crate::lock;
use crate::ws::subscription::Slow;

/// Counters since the start. Moved once per batch, never per message.
#[derive(Debug, Default)]
pub struct GatewayStats {
    pub connections: AtomicU64,
    pub connections_total: AtomicU64,
    pub subscriptions: AtomicU64,
    /// Messages encoded for all readers of a topic together.
    pub encoded_total: AtomicU64,
    /// Messages encoded for one connection that was behind the ring.
    pub encoded_behind_total: AtomicU64,
    /// Views that somebody follows.
    pub views: AtomicU64,
    /// Messages encoded for all readers of a view together.
    pub view_encoded_total: AtomicU64,
    /// Times that a reader of a view was given its state because it had lost its place.
    pub view_rejoins_total: AtomicU64,
    /// Times that the policy `conflate` moved a subscription into a view.
    pub conflated_total: AtomicU64,
    /// Messages that were made in another form (MessagePack, integers, numbers for names) for all who share it.
    pub forms_total: AtomicU64,
    pub sent_messages_total: AtomicU64,
    pub sent_bytes_total: AtomicU64,
    /// Messages of topics handed to connections, by class, highest first.
    pub sent_by_class: [AtomicU64; 4],
    /// Times that a subscription became slow, by its policy.
    pub(crate) slow_by_policy: [AtomicU64; 5],
    /// Messages that were compressed: each once, whoever gets it.
    pub compressed_messages_total: AtomicU64,
    /// Frames that went compressed, their bytes, and those that this saved.
    pub compressed_frames_total: AtomicU64,
    pub compressed_bytes_total: AtomicU64,
    pub compressed_saved_bytes_total: AtomicU64,
    /// Seqs that clients were told they missed.
    pub missed_records_total: AtomicU64,
    /// Times that a subscription waited for acknowledgements.
    pub ack_pauses_total: AtomicU64,
    /// Flagged rows that readers of the view `clean` were told they were not given.
    pub omitted_total: AtomicU64,
    /// Times that a subscription waited for credit.
    pub flow_pauses_total: AtomicU64,
    pub resumes_total: AtomicU64,
    /// For a session that there is not, or with another secret.
    pub resumes_refused_total: AtomicU64,
    /// Sessions that wait for their client.
    pub sessions_alone: AtomicU64,
    pub ops_total: AtomicU64,
    pub errors_total: AtomicU64,
    pub refused_upgrades_total: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub refused_handshakes_total: AtomicU64,
    /// Subscriptions that read what the tape let go.
    pub history_subscriptions: AtomicU64,
    /// Messages and rows of history handed to connections.
    pub history_messages_total: AtomicU64,
    /// Readings that ended because the history could not be read.
    pub history_failures_total: AtomicU64,
    /// Credentials taken, and refused.
    pub auth_accepted_total: AtomicU64,
    pub auth_refused_total: AtomicU64,
    /// Connections whose credentials expired or were revoked.
    pub auth_ended_total: AtomicU64,
    /// Connections closed for abuse, and kept out.
    pub bans_total: AtomicU64,
    /// Changed files of keys that could not be used.
    pub keys_failures_total: AtomicU64,
    /// Publications that were written and confirmed.
    pub publications_total: AtomicU64,
    /// Confirmed again: they were sent again.
    pub publications_repeated_total: AtomicU64,
    /// The topic's head was another than `if_seq`.
    pub publication_conflicts_total: AtomicU64,
    pub publications_refused_total: AtomicU64,
    /// Publications that wait for their group.
    pub publications_waiting: AtomicU64,
    /// Groups that were written, each with one wait for the disk.
    pub publication_groups_total: AtomicU64,
    /// Groups that could not be written, or not be made durable.
    pub publish_failures_total: AtomicU64,
    /// Names whose results are kept.
    pub publication_names: AtomicU64,
    closes: Mutex<Vec<(u16, u64)>>,
}

impl GatewayStats {
    pub(crate) fn closed(&self, code: u16) {
        let mut closes = lock(&self.closes);
        match closes.iter_mut().find(|(c, _)| *c == code) {
            Some((_, n)) => *n += 1,
            None => closes.push((code, 1)),
        }
    }

    /// One frame was handed to a socket.
    pub(crate) fn sent(&self, sent: Sent) {
        if let Some(saved) = sent.saved {
            self.compressed_messages_total.fetch_add(sent.compressed.into(), Ordering::Relaxed);
            self.compressed_frames_total.fetch_add(1, Ordering::Relaxed);
            self.compressed_bytes_total.fetch_add(sent.bytes as u64, Ordering::Relaxed);
            self.compressed_saved_bytes_total.fetch_add(saved as u64, Ordering::Relaxed);
        }
    }

    /// Appends the figures to `out`.
    pub(crate) fn write(&self, out: &mut String) {
        let mut one = |name: &str, kind: &str, help: &str, value: &AtomicU64| {
            let v = value.load(Ordering::Relaxed);
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {v}\n");
        };
        let (c, g) = ("counter", "gauge");
        one("gateway_connections", g, "Open WebSocket connections.", &self.connections);
        one("gateway_connections_total", c, "WebSocket connections accepted.", &self.connections_total);
        one("gateway_subscriptions", g, "Subscriptions of all connections.", &self.subscriptions);
        one("gateway_encoded_messages_total", c, "Messages encoded once for all readers.", &self.encoded_total);
        one("gateway_encoded_behind_messages_total", c, "Messages encoded for one reader.", &self.encoded_behind_total);
        one("gateway_views", g, "Views (topic, depth, period) that are followed.", &self.views);
        one(
            "gateway_view_encoded_messages_total",
            c,
            "Messages of views, encoded once each.",
            &self.view_encoded_total,
        );
        one(
            "gateway_view_rejoins_total",
            c,
            "Readers of views that were given the state anew.",
            &self.view_rejoins_total,
        );
        one("gateway_conflated_total", c, "Slow subscriptions moved into a view.", &self.conflated_total);
        one(
            "gateway_formed_messages_total",
            c,
            "Messages made in another form (MessagePack, integers, numbers for names) for all who share it.",
            &self.forms_total,
        );
        one("gateway_sent_messages_total", c, "Messages handed to sockets.", &self.sent_messages_total);
        one("gateway_sent_bytes_total", c, "Bytes of messages handed to sockets.", &self.sent_bytes_total);
        one(
            "gateway_compressed_messages_total",
            c,
            "Messages compressed once for all.",
            &self.compressed_messages_total,
        );
        one("gateway_compressed_frames_total", c, "Frames sent compressed.", &self.compressed_frames_total);
        one("gateway_compressed_bytes_total", c, "Bytes of frames sent compressed.", &self.compressed_bytes_total);
        one("gateway_compressed_saved_bytes_total", c, "Bytes saved by that.", &self.compressed_saved_bytes_total);
        one("gateway_missed_records_total", c, "Seqs that clients were told they missed.", &self.missed_records_total);
        one("gateway_ack_pauses_total", c, "Waits for acknowledgements.", &self.ack_pauses_total);
        one("gateway_flow_pauses_total", c, "Waits for credit.", &self.flow_pauses_total);
        one("gateway_omitted_total", c, "Flagged rows left out for readers of the view clean.", &self.omitted_total);
        one("gateway_resumes_total", c, "Sessions that went on over a new connection.", &self.resumes_total);
        one("gateway_resumes_refused_total", c, "Resumes refused: unknown, expired.", &self.resumes_refused_total);
        one("gateway_sessions_alone", g, "Sessions that wait for their client.", &self.sessions_alone);
        one("gateway_ops_total", c, "Messages of clients.", &self.ops_total);
        one("gateway_errors_total", c, "Errors answered to clients.", &self.errors_total);
        one("gateway_refused_upgrades_total", c, "Upgrades refused.", &self.refused_upgrades_total);
        one("gateway_refused_handshakes_total", c, "TLS handshakes that failed.", &self.refused_handshakes_total);
        one("gateway_history_subscriptions", g, "Subscriptions that read the history.", &self.history_subscriptions);
        one("gateway_history_messages_total", c, "Messages and rows of history.", &self.history_messages_total);
        one("gateway_history_failures_total", c, "Histories that could not be read.", &self.history_failures_total);
        one("gateway_auth_accepted_total", c, "Credentials taken.", &self.auth_accepted_total);
        one("gateway_auth_refused_total", c, "Credentials refused.", &self.auth_refused_total);
        one("gateway_auth_ended_total", c, "Connections whose credentials ended.", &self.auth_ended_total);
        one("gateway_bans_total", c, "Connections closed for abuse.", &self.bans_total);
        one("gateway_keys_failures_total", c, "Changed files of keys that cannot be used.", &self.keys_failures_total);
        one("gateway_publications_total", c, "Publications written and confirmed.", &self.publications_total);
        one("gateway_publications_repeated_total", c, "Publications sent again.", &self.publications_repeated_total);
        one("gateway_publication_conflicts_total", c, "Heads that were not if_seq.", &self.publication_conflicts_total);
        one("gateway_publications_refused_total", c, "Publications refused.", &self.publications_refused_total);
        one("gateway_publications_waiting", g, "Publications that wait.", &self.publications_waiting);
        one("gateway_publication_groups_total", c, "Groups written, one fsync each.", &self.publication_groups_total);
        one("gateway_publish_failures_total", c, "Groups that the disk did not take.", &self.publish_failures_total);
        one("gateway_publication_names", g, "Publications whose results are kept.", &self.publication_names);
        let name = "gateway_class_messages_total";
        let _ = write!(out, "# HELP {name} Messages of topics handed to connections.\n# TYPE {name} counter\n");
        for class in Class::ALL {
            let n = self.sent_by_class[class as usize].load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}{{class=\"{}\"}} {n}", class.as_str());
        }
        let name = "gateway_slow_total";
        let _ = write!(out, "# HELP {name} Times that a subscription became slow.\n# TYPE {name} counter\n");
        for policy in Slow::ALL {
            let n = self.slow_by_policy[policy as usize].load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}{{policy=\"{}\"}} {n}", policy.as_str());
        }
        out.push_str("# HELP gateway_closes_total Connections closed, by code.\n# TYPE gateway_closes_total counter\n");
        for (code, n) in lock(&self.closes).iter() {
            let _ = writeln!(out, "gateway_closes_total{{code=\"{code}\"}} {n}");
        }
    }
}
