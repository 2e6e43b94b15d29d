//! What a line hands to its shell: rows for the tape, in order, and actions for the sockets.

use wholetape_model::{Arena, Pending, Row, RowFlags, Scales, Ts};
use wholetape_venue::{FetchId, Request};

/// A connection of the line: the index of its session in the plan.
pub type ConnIx = usize;
/// A topic of the line: an index into [`crate::line::Line::topics`].
pub type LineTopic = u32;

/// One judged event or mark. The lane gives it its seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    pub topic: LineTopic,
    pub ts_event: Ts,
    pub ts_recv: Ts,
    pub conn: u32,
    pub frame: u32,
    pub flags: RowFlags,
    pub scales: Scales,
    pub body: Pending,
}

impl Judged {
    /// The row as the tape takes it.
    #[must_use]
    pub fn row<'a>(&self, arena: &'a Arena) -> Row<'a> {
        Row {
            ts_event: self.ts_event,
            ts_recv: self.ts_recv,
            conn: self.conn,
            frame: self.frame,
            flags: self.flags,
            scales: self.scales,
            body: arena.view(&self.body),
        }
    }
}

/// Who comes first at the host's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// A book without its snapshot serves nobody.
    BookResync,
    /// A hole at the live edge.
    LiveHole,
    Poll,
    /// Whether a quiet stream is quiet.
    Probe,
    /// Older holes.
    Backlog,
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineAction {
    Send(ConnIx, String),
    /// Ask over REST; the answer goes to `on_fetched` of the same connection.
    Fetch(ConnIx, FetchId, Request, Priority),
    /// Give up this connection and open another.
    Reconnect(ConnIx, wholetape_model::LinkCause, String),
    /// The venue refused what no retry mends.
    Stop(ConnIx, String),
    /// Nothing is left that this connection could bring: it is closed and not opened again.
    Retire(ConnIx, String),
    /// Every stream asked for was acknowledged.
    Subscribed(ConnIx),
    /// The first frame with data came.
    FirstData(ConnIx),
    /// The venue will close this connection soon: replace it.
    ClosingSoon(ConnIx),
    /// A stream is silent though its siblings speak; told to people as well.
    Silent(ConnIx, String),
    /// A frame that we do not know or cannot read.
    Odd(ConnIx, String),
}

/// Filled by the line, emptied by the shell. Several frames may be collected before the shell writes one batch.
#[derive(Debug, Default)]
pub struct LineOut {
    pub rows: Vec<Judged>,
    pub actions: Vec<LineAction>,
    /// Where sessions put their events; its arena holds the levels and texts of `rows` until `clear`.
    pub scratch: wholetape_venue::Out,
}

impl LineOut {
    /// The shell has carried everything out.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.actions.clear();
        self.scratch.clear();
    }

    #[must_use]
    pub fn arena(&self) -> &Arena {
        &self.scratch.arena
    }
}
