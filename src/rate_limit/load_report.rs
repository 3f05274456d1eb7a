//! The load of this server, for load balancers.
//!
//! ORCA (Open Request Cost Aggregation): the response field `endpoint-load-metrics`, in its form
//! `TEXT`. Envoy's load balancing policy `client_side_weighted_round_robin` reads it
//! (<https://github.com/envoyproxy/envoy/issues/6614>, `source/common/orca/orca_parser.h`).

use std::num::NonZeroU32;

use http::{HeaderMap, HeaderName, HeaderValue};

const METRICS: HeaderName = HeaderName::from_static("endpoint-load-metrics");
const METRICS_BIN: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");

/// The report about `in_flight` requests, if `limit` may be in flight on all of `replicas`.
pub(super) fn report(in_flight: u32, limit: NonZeroU32, replicas: u32) -> Option<HeaderValue> {
    let share = f64::from(limit.get()) / f64::from(replicas.max(1));
    let utilization = f64::from(in_flight) / share;
    let text = format!(
        "TEXT application_utilization={utilization:.4},named_metrics.in_flight={in_flight}"
    );
    HeaderValue::try_from(text).ok()
}

/// Adds the report, unless the inner service has sent its own.
pub(super) fn write(report: &HeaderValue, headers: &mut HeaderMap) {
    if !headers.contains_key(METRICS) && !headers.contains_key(METRICS_BIN) {
        headers.insert(METRICS, report.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_the_part_of_the_share_in_use() {
        let limit = NonZeroU32::new(8).expect("not zero");
        for (in_flight, replicas, expected) in [
            (
                0,
                1,
                "TEXT application_utilization=0.0000,named_metrics.in_flight=0",
            ),
            (
                2,
                1,
                "TEXT application_utilization=0.2500,named_metrics.in_flight=2",
            ),
            (
                8,
                1,
                "TEXT application_utilization=1.0000,named_metrics.in_flight=8",
            ),
            (
                4,
                2,
                "TEXT application_utilization=1.0000,named_metrics.in_flight=4",
            ),
            (
                1,
                0,
                "TEXT application_utilization=0.1250,named_metrics.in_flight=1",
            ),
        ] {
            let report = report(in_flight, limit, replicas).expect("a report");
            assert_eq!(report, expected);
        }
    }

    #[test]
    fn the_report_of_the_inner_service_stays() {
        let report = HeaderValue::from_static("TEXT application_utilization=0.5");
        for own in [METRICS, METRICS_BIN] {
            let mut headers = HeaderMap::new();
            headers.insert(&own, HeaderValue::from_static("own"));
            write(&report, &mut headers);
            assert_eq!(
                (headers.len(), &headers[own]),
                (1, &HeaderValue::from_static("own"))
            );
        }
        let mut headers = HeaderMap::new();
        write(&report, &mut headers);
        assert_eq!(headers[METRICS], report);
    }
}
