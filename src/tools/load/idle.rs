//! Connections that are held: a request on each when it is made, nothing for a while, and a request at the end.

use std::sync::Arc;

use tokio::time::sleep;

use super::lane::{Lane, Talk};

impl Lane {
    /// Opens this lane's share of `all`, holds it, and asks whether it still lives.
    pub(super) async fn idle(mut self, all: usize) {
        let lanes = self.shared.plan.connections.get();
        let mut held: Vec<Talk> = Vec::new();
        for _ in (self.number..all).step_by(lanes) {
            let due = self.shared.clock.now();
            let opened = match self.talk().await {
                Ok(talk) => self.request(talk, due).await,
                Err(failure) => self.failed(failure, due).await,
            };
            if let Some(mut talk) = opened {
                talk.rest();
                held.push(talk);
                self.tally.lock().held += 1;
            }
        }
        self.shared.ready.wait().await;
        let schedule = Arc::clone(&self.shared.schedule);
        schedule.begin();
        if let Some(duration) = self.shared.plan.duration {
            sleep(duration).await;
        }
        for talk in held {
            let due = self.shared.clock.now();
            if let Some(talk) = self.request(talk, due).await {
                self.tally.lock().alive += 1;
                drop(talk);
            }
        }
    }
}
