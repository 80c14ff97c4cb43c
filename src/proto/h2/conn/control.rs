//! Frames that steer: resets, SETTINGS, PING, windows, priorities.

use super::*;

impl Machine {
    pub(super) fn rst_stream(
        &mut self,
        now: Mono,
        head: Head,
        payload: &[u8],
    ) -> Result<Option<Event>, Fatal> {
        if self.is_idle(head.stream) {
            return Err(broken(ErrorCode::Protocol, "RST_STREAM on an idle stream"));
        }
        if self.role == Role::Server {
            self.guard.reset(now).map_err(Fatal::Flood)?;
        }
        let code = ErrorCode::of(frame::number32(payload));
        let Some(key) = self.streams.find(head.stream) else {
            return Ok(None);
        };
        if self.streams.get(key).reset {
            return Ok(None);
        }
        self.shut(key);
        Ok(self.told(key, code, true))
    }

    /// A stream's end as an event, unless its user has gone already.
    pub(super) fn told(&mut self, key: Key, code: ErrorCode, remote: bool) -> Option<Event> {
        let released = self.streams.get(key).released;
        self.streams.reap(key);
        (!released).then_some(Event::Reset {
            stream: key,
            code,
            remote,
        })
    }

    /// Ends a stream for both sides; its unread bytes are nobody's any more.
    pub(super) fn shut(&mut self, key: Key) {
        let stream = self.streams.get_mut(key);
        let unread = std::mem::take(&mut stream.unread);
        stream.shut();
        if std::mem::take(&mut stream.scheduled) {
            self.schedule.remove(key);
        }
        self.unread -= u64::from(unread);
        self.moved.push(key);
        self.announce();
    }

    /// Resets a stream by its number, known or not.
    pub(super) fn reset_id(&mut self, id: u32, code: ErrorCode) -> Option<Event> {
        self.put_reset(id, code);
        let key = self.streams.find(id)?;
        if self.streams.get(key).reset {
            return None;
        }
        self.shut(key);
        self.told(key, code, false)
    }

    /// As [`Self::reset`], for a frame whose block must still be read. The user learns of it by `moved`.
    pub(super) fn pend_reset(&mut self, key: Key, code: ErrorCode) {
        let id = self.streams.get(key).id;
        self.put_reset(id, code);
        self.shut(key);
        self.streams.reap(key);
    }

    pub(super) fn settings(
        &mut self,
        now: Mono,
        head: Head,
        payload: &[u8],
    ) -> Result<Option<Event>, Fatal> {
        if head.has(flag::ACK) {
            self.guard.empty(now).map_err(Fatal::Flood)?;
            self.settled = true;
            if !std::mem::replace(&mut self.acked, true) {
                let change = i64::from(self.config.window) - i64::from(WINDOW_DEFAULT);
                for (_, stream) in self.streams.iter_mut() {
                    stream.recv_window += change;
                    stream.window = (i64::from(stream.window) + change).max(0) as u32;
                }
            }
            return Ok(None);
        }
        if self.settled {
            self.guard.answered(now).map_err(Fatal::Flood)?;
        }
        self.settled = true;
        let before = self.peer.initial_window_size;
        frame::read_settings(payload, &mut self.peer)
            .map_err(|code| broken(code, "invalid SETTINGS"))?;
        self.encoder.set_limit(self.peer.header_table_size as usize);
        let change = i64::from(self.peer.initial_window_size) - i64::from(before);
        if change != 0 {
            for (key, stream) in self.streams.iter_mut() {
                stream.send_window += change;
                if stream.send_window > i64::from(WINDOW_MAX) {
                    return Err(broken(ErrorCode::FlowControl, "a window is too large"));
                }
                arm(key, stream, &mut self.schedule);
            }
        }
        frame::put_settings_ack(&mut self.control);
        Ok(Some(Event::Settings))
    }

    pub(super) fn ping(
        &mut self,
        now: Mono,
        head: Head,
        payload: &[u8],
    ) -> Result<Option<Event>, Fatal> {
        if head.has(flag::ACK) {
            self.guard.empty(now).map_err(Fatal::Flood)?;
            return Ok(Some(Event::Pong));
        }
        self.guard.answered(now).map_err(Fatal::Flood)?;
        let mut echo = [0; 8];
        echo.copy_from_slice(payload);
        frame::put_ping(&echo, true, &mut self.control);
        Ok(None)
    }

    pub(super) fn window_update(
        &mut self,
        now: Mono,
        head: Head,
        payload: &[u8],
    ) -> Result<Option<Event>, Fatal> {
        self.guard.window(now).map_err(Fatal::Flood)?;
        let more = frame::number31(payload);
        if head.stream == 0 {
            if more == 0 {
                return Err(broken(ErrorCode::Protocol, "WINDOW_UPDATE of nothing"));
            }
            self.send_window += i64::from(more);
            if self.send_window > i64::from(WINDOW_MAX) {
                return Err(broken(
                    ErrorCode::FlowControl,
                    "the connection's window is too large",
                ));
            }
            return Ok(None);
        }
        if self.is_idle(head.stream) {
            return Err(broken(
                ErrorCode::Protocol,
                "WINDOW_UPDATE on an idle stream",
            ));
        }
        let found = self.streams.find(head.stream);
        let Some(key) = found.filter(|&key| !self.streams.get(key).reset) else {
            return Ok(None);
        };
        let wrong = if more == 0 {
            Some(ErrorCode::Protocol)
        } else if self.streams.get(key).send_window + i64::from(more) > i64::from(WINDOW_MAX) {
            Some(ErrorCode::FlowControl)
        } else {
            None
        };
        if let Some(code) = wrong {
            self.guard.reset(now).map_err(Fatal::Flood)?;
            return Ok(self.reset_id(head.stream, code));
        }
        let stream = self.streams.get_mut(key);
        stream.send_window += i64::from(more);
        arm(key, stream, &mut self.schedule);
        Ok(None)
    }

    pub(super) fn priority_update(
        &mut self,
        now: Mono,
        payload: &[u8],
    ) -> Result<Option<Event>, Fatal> {
        self.guard.empty(now).map_err(Fatal::Flood)?;
        let id = frame::number31(payload);
        if self.role == Role::Client || id == 0 {
            return Err(broken(ErrorCode::Protocol, "unexpected PRIORITY_UPDATE"));
        }
        let priority = Priority::parse(&payload[4..]);
        match self.streams.find(id) {
            Some(key) => {
                let stream = self.streams.get_mut(key);
                (stream.priority, stream.prioritised) = (priority, true);
                if std::mem::take(&mut stream.scheduled) {
                    self.schedule.remove(key);
                    let stream = self.streams.get_mut(key);
                    arm(key, stream, &mut self.schedule);
                }
            }
            None if id % 2 == 1 && id > self.last => {
                let last = self.last;
                self.early.retain(|&(early, _)| early != id && early > last);
                if self.early.len() < EARLY_PRIORITIES_MAX {
                    self.early.push((id, priority));
                }
            }
            None => {}
        }
        Ok(None)
    }
}
