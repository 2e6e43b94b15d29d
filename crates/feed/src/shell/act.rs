//! What the line asked for, what people ask for, and the rows that tell what became of connections.

use std::time::Duration;

use wholetape_model::{LinkCause, LinkState};
use wholetape_venue::{FetchFailure, Reply};

use super::{Shell, link_row, stats};
use crate::error::chain;
use crate::line::{ConnIx, LineAction};
use crate::worker::{Command, Control, Level};

impl Shell {
    /// Writes a transition, if the cause makes one.
    pub(super) fn put_link(&mut self, conn: ConnIx, cause: LinkCause, delay: Duration, why: &str) {
        let now = self.now();
        let endpoint = self.spec.ws[self.slots[conn].endpoint].url(self.path(conn));
        let slot = &mut self.slots[conn];
        let Some(transition) = slot.state.step(cause, &endpoint, delay, why) else { return };
        if transition.state == LinkState::Active {
            slot.backoff.on_up(now);
            slot.state.forget_attempts();
        }
        let number = slot.number;
        let row = link_row(&transition, now, number);
        if let Err(error) = self.handle.lane().append(self.link_topic, &row) {
            self.handle.log(Level::Failure, &self.spec.name, "tape", || chain(&error));
        }
        let correlation = &transition.correlation;
        tracing::debug!(on = %correlation, state = transition.state.as_str(), cause = cause.as_str(), "{why}");
    }

    pub(super) fn carry_out(&mut self, action: LineAction) {
        match action {
            LineAction::Send(conn, text) => {
                let slot = &mut self.slots[conn];
                let sent = slot.state.may_talk().and_then(|()| slot.send(text));
                if let Err(error) = sent {
                    self.give_up(conn, LinkCause::Error, &error.to_string());
                }
            }
            LineAction::Fetch(conn, id, request, priority) => match self.handle.host(&self.spec.door) {
                Some(host) => {
                    let host = host.clone();
                    self.fetches
                        .push(Box::pin(async move { (conn, id, host.fetch(id.kind, request, priority).await) }));
                }
                None => {
                    let now = self.now();
                    let failure = FetchFailure::Transport("no REST host is configured".into());
                    self.line.on_fetched(conn, now, id, Reply::Failed(&failure), &mut self.out);
                }
            },
            LineAction::Reconnect(conn, cause, why) => self.give_up(conn, cause, &why),
            LineAction::Stop(conn, why) => self.give_up(conn, LinkCause::SubscribeRefused, &why),
            LineAction::Subscribed(conn) => {
                self.put_link(conn, LinkCause::Acknowledged, Duration::ZERO, "all streams acknowledged");
                self.subscribed(conn);
            }
            LineAction::Retire(conn, why) => self.retire(conn, &why),
            LineAction::FirstData(conn) => self.put_link(conn, LinkCause::FirstData, Duration::ZERO, "first data"),
            LineAction::ClosingSoon(conn) => {
                let now = self.now();
                self.slots[conn].replace_at = now;
                self.replace(conn, now);
            }
            LineAction::Silent(conn, why) => {
                self.handle.log(Level::Recoverable, &self.slots[conn].correlation(), "silent", || why);
            }
            LineAction::Odd(conn, why) => {
                self.handle.log(Level::Recoverable, &self.slots[conn].correlation(), "odd frame", || why);
            }
        }
    }

    pub(super) fn answer(&mut self, control: Control) {
        let result = match control.command.clone() {
            Command::Status => {
                Ok(stats::status(&self.spec, &self.slots, &self.line, self.metrics.load.lag, self.paused))
            }
            Command::Reconnect(which) => {
                let conns: Vec<ConnIx> = which
                    .map_or_else(|| (0..self.slots.len()).filter(|c| self.slots[*c].wanted).collect(), |c| vec![c]);
                match conns.iter().find(|c| **c >= self.slots.len()) {
                    Some(conn) => Err(format!("{} has no connection {conn}", self.spec.name)),
                    None => {
                        for conn in conns {
                            self.give_up(conn, LinkCause::Stop, "asked to reconnect");
                            self.slots[conn].hurry(self.handle.clock().now());
                        }
                        Ok("reconnecting".into())
                    }
                }
            }
            Command::Pause => {
                self.paused = true;
                for conn in 0..self.slots.len() {
                    self.give_up(conn, LinkCause::Stop, "paused");
                    if self.slots[conn].state.state() != LinkState::Disconnected {
                        self.put_link(conn, LinkCause::Stop, Duration::ZERO, "paused");
                    }
                    self.slots[conn].rest(self.handle.clock().now());
                }
                Ok("paused".into())
            }
            Command::Resume => {
                self.paused = false;
                Ok("resumed".into())
            }
            Command::Backfill(order) => {
                self.line.backfill(&order, self.handle.clock().now()).map(|()| "ordered".into())
            }
            Command::BackfillProgress(instrument, job) => {
                self.line.backfill_progress(&instrument, job).map(|progress| stats::progress(&progress))
            }
            Command::BackfillCancel(instrument, job) => {
                self.line.backfill_cancel(&instrument, job).map(|()| "cancelled".into())
            }
            Command::Delist(instrument) => {
                let now = self.handle.clock().now();
                self.line.delist(&instrument, now, &mut self.out).map(|()| "not subscribed any more".into())
            }
            Command::Late(late) => self.take_late(&late),
            Command::Send(conn, text) => match self.slots.get_mut(conn) {
                Some(slot) => slot
                    .state
                    .may_send()
                    .and_then(|()| slot.send(text))
                    .map(|()| "sent".into())
                    .map_err(|e| e.to_string()),
                None => Err(format!("{} has no connection {conn}", self.spec.name)),
            },
        };
        control.answer(result);
    }
}
