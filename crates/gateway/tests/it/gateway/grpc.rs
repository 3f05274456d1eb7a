//! tonic, the gRPC implementation of Rust, on both sides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Answer;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;

use super::harness::{ANY, KEY, Program, listen};

/// Sends the caller's key with each call.
#[derive(Clone)]
struct Credential(MetadataValue<Ascii>);

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Client = HealthClient<InterceptedService<Channel, Credential>>;

async fn client(gateway: SocketAddr, key: &str) -> Client {
    let channel = Channel::from_shared(format!("http://{gateway}")).unwrap();
    let credential = Credential(format!("Bearer {key}").parse().unwrap());
    HealthClient::with_interceptor(channel.connect().await.unwrap(), credential)
}

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

/// A server that ends in good order when the sender is used: it sends `GOAWAY` and finishes its calls.
async fn serve(address: SocketAddr) -> (SocketAddr, HealthReporter, oneshot::Sender<()>) {
    let listener = listen(address).await;
    let address = listener.local_addr().unwrap();
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("speech", ServingStatus::Serving)
        .await;
    let (stop, stopped) = oneshot::channel();
    let serving = Server::builder()
        .max_concurrent_streams(100)
        .add_service(health)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), async {
            let _ = stopped.await;
        });
    tokio::spawn(serving);
    (address, reporter, stop)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_streams_of_tonic_pass_and_more_than_one_connection_allows() {
    let (upstream, reporter, _stop) = serve(ANY).await;
    let gateway = Program::validating(upstream).start();
    let calls = client(gateway.address, KEY).await;

    // More streams than the server allows on one connection, and each has had its first message.
    let mut streams = Vec::new();
    for _ in 0..250 {
        let mut client = calls.clone();
        let answer = client.watch(about("speech")).await.unwrap();
        let mut stream = answer.into_inner();
        let first = stream.message().await.unwrap().unwrap();
        assert_eq!(first.status(), Answer::Serving);
        streams.push(stream);
    }
    let mut checks = JoinSet::new();
    for _ in 0..16 {
        let mut client = calls.clone();
        checks.spawn(async move {
            for _ in 0..50 {
                let answer = client.check(about("speech")).await.unwrap();
                assert_eq!(answer.into_inner().status(), Answer::Serving);
            }
        });
    }
    while let Some(done) = checks.join_next().await {
        done.unwrap();
    }
    // A status of the server's own, in the trailers of an answer without a message.
    let unknown = calls.clone().check(about("unknown")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    // Every stream is still open.
    reporter
        .set_service_status("speech", ServingStatus::NotServing)
        .await;
    for mut stream in streams {
        let second = stream.message().await.unwrap().unwrap();
        assert_eq!(second.status(), Answer::NotServing);
    }
}

#[tokio::test]
async fn tonic_reads_a_refusal_as_its_status() {
    let (upstream, _, _stop) = serve(ANY).await;
    let gateway = Program::validating(upstream).start();
    let mut stranger = client(gateway.address, "wrong").await;
    let refused = stranger.check(about("speech")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let refused = stranger.watch(about("speech")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
}

/// A rolling restart: one of two servers ends while the other one serves.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_servers_are_replaced_in_good_order() {
    let (first, second) = (serve(ANY).await, serve(ANY).await);
    let addresses = [first.0, second.0];
    let mut running = [Some(first.2), Some(second.2)];
    let gateway = Program::validating(addresses[0])
        .var(
            "VOXGATE_UPSTREAM",
            format!("http://{} http://{}", addresses[0], addresses[1]),
        )
        .start();
    let calls = client(gateway.address, KEY).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut checks = JoinSet::new();
    for _ in 0..8 {
        let (mut client, done) = (calls.clone(), Arc::clone(&done));
        checks.spawn(async move {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                let answer = client.check(about("speech")).await.unwrap();
                assert_eq!(answer.into_inner().status(), Answer::Serving);
                count += 1;
            }
            count
        });
    }
    for turn in 0..6 {
        let (address, stop) = (addresses[turn % 2], &mut running[turn % 2]);
        stop.take().unwrap().send(()).unwrap();
        *stop = Some(serve(address).await.2);
        // Until the server that was replaced gets requests again.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    done.store(true, Ordering::Relaxed);
    while let Some(count) = checks.join_next().await {
        assert!(count.unwrap() > 0);
    }
}
