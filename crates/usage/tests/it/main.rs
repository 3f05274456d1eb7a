//! Tests of metering and quotas through the public interface.

mod audio;
mod books;
mod layers;
