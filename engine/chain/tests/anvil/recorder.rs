//! A sink that keeps what it is told.

use weir_chain::{Sighting, Sink};

/// Keeps every sighting; refuses as often as it is told to.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) sightings: Vec<Sighting>,
    pub(crate) refuses: u32,
}

impl Recorder {
    pub(crate) fn last(&self) -> &Sighting {
        self.sightings.last().expect("a sighting")
    }
}

impl Sink for Recorder {
    type Fault = &'static str;

    async fn take(&mut self, sighting: &Sighting) -> Result<(), Self::Fault> {
        if self.refuses > 0 {
            self.refuses -= 1;
            return Err("told to refuse");
        }
        self.sightings.push(sighting.clone());
        Ok(())
    }
}
