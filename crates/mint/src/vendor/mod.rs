//! The vendors' requests for tokens: one file, and one table, for each vendor.

mod azure;
mod cartesia;
mod deepgram;
mod elevenlabs;
mod inworld;
mod neutral;
mod nim;
mod openai;

use voxgate::Dialect;

use crate::endpoint::Endpoint;

/// The scope of every route that synthesizes speech.
const SPEAK: &str = "tts:synthesize";
/// The scope of speech recognition, which vendors' tokens may also allow. The dialects' policies have
/// no such route, because this gateway is for synthesis.
const TRANSCRIBE: &str = "stt:transcribe";

/// Every endpoint, vendor by vendor.
pub fn endpoints() -> impl Iterator<Item = &'static Endpoint> {
    let all: [&'static [Endpoint]; 8] = [
        &inworld::ENDPOINTS,
        &deepgram::ENDPOINTS,
        &cartesia::ENDPOINTS,
        &elevenlabs::ENDPOINTS,
        &openai::ENDPOINTS,
        &azure::ENDPOINTS,
        &nim::ENDPOINTS,
        &neutral::ENDPOINTS,
    ];
    all.into_iter().flatten()
}

/// The endpoint of this dialect at this path, and the segment that stands for `{type}`.
pub(crate) fn find(dialect: Dialect, path: &str) -> Option<(&'static Endpoint, &str)> {
    endpoints()
        .filter(|endpoint| endpoint.is_of(dialect))
        .find_map(|endpoint| Some((endpoint, endpoint.matches(path)?)))
}

#[cfg(test)]
mod tests;
