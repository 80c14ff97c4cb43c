//! Asks OCSP responders for what goes along with certificates (`ssl_stapling`), beside all requests and never in their way:
//! a responder that is silent costs a line in the log. One shard asks for all of its worker. What an answer is worth and when
//! the next question is due is decided in `net::tls`. Start at [`start`].

use std::rc::{Rc, Weak};
use std::time::Duration;

use super::local::{Generation, Local};
use super::responder::Asker;
use crate::net::tls::staple::Staple;
use crate::net::{clock, runtime};
use crate::plan::ServerId;

/// How often a duty looks whether it is still wanted.
const LOOK: Duration = Duration::from_secs(5);

/// Begins to ask for every certificate of a configuration that wants it, until that is replaced.
pub fn start(generation: &Rc<Generation>, local: &Rc<Local>) {
    for at in 0..generation.tls.staples.len() {
        runtime::spawn(tend(Rc::downgrade(generation), local.clone(), at));
    }
}

async fn tend(generation: Weak<Generation>, local: Rc<Local>, at: usize) {
    while let Some(generation) = generation.upgrade() {
        let Some((staple, server)) = generation.tls.staples.get(at) else {
            return;
        };
        if local.draining.get() {
            return;
        }
        let rest = match staple.take_due(clock::unix().secs) {
            Ok(request) => {
                let asker = Asker {
                    generation: &generation,
                    local: &local,
                    server: ServerId(*server as u32),
                    // As with nginx, which then asks the system when it starts.
                    system: true,
                };
                ask(&asker, staple, request).await;
                Duration::ZERO
            }
            Err(seconds) => Duration::from_secs(seconds.unsigned_abs()).min(LOOK),
        };
        drop(generation);
        runtime::sleep(rest).await;
    }
}

async fn ask(asker: &Asker<'_>, staple: &Staple, request: &[u8]) {
    let answer = asker.ask(&staple.responder, request).await;
    let now = clock::unix().secs;
    let result = answer.and_then(|answer| {
        let judged = staple.answered(&answer, now);
        judged.map_err(|worthless| worthless.text().to_owned())
    });
    if let Err(reason) = result {
        staple.failed(now);
        let about = format_args!("certificate: \"{}\"", staple.name);
        asker.tell(&reason, &staple.responder.host, about);
    }
}
