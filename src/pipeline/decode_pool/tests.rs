//! The pool's turns, memory and bounds, on work that only waits and writes down that it ran.
//!
//! This file must never depend on how fast anything is.

use std::sync::mpsc;

use futures::FutureExt as _;

use super::*;
use crate::lifecycle::SystemClock;

struct Bench {
    pool: DecodePool,
    metrics: Metrics,
    ran: Arc<Mutex<Vec<String>>>,
}

fn bench(settings: DecodeSettings) -> Bench {
    let metrics = Metrics::new().unwrap();
    let pool = DecodePool::start(settings, Arc::new(SystemClock), metrics.clone()).unwrap();
    Bench { pool, metrics, ran: Arc::default() }
}

const ONE: DecodeSettings =
    DecodeSettings { threads: 1, queue_images: 64, queue_bytes: 1 << 20, memory_bytes: 100 };

impl Bench {
    fn ask(&self, model: &str, claim: u64) -> DecodeAsk {
        let metrics = self.metrics.model(model, "1");
        DecodeAsk { metrics, file_bytes: 1, claim, deadline: None }
    }

    /// Queues work that writes its name down.
    fn queue(
        &self,
        ask: DecodeAsk,
        name: &str,
    ) -> futures::future::BoxFuture<'static, Result<(), DecodePoolError>> {
        let (pool, ran, name) = (self.pool.clone(), Arc::clone(&self.ran), name.to_owned());
        let mut queued =
            async move { pool.run(ask, move |_started| ran.lock().unwrap().push(name)).await }
                .boxed();
        // Once polled it is in the queue.
        match (&mut queued).now_or_never() {
            None => queued,
            Some(result) => async move { result }.boxed(),
        }
    }

    /// Work that holds a thread, and `claim` of the memory, until the sender says so or is gone.
    fn hold(
        &self,
        claim: u64,
    ) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), DecodePoolError>>) {
        let (go, wait) = mpsc::channel::<()>();
        let (begun, is_begun) = mpsc::channel::<()>();
        let (pool, ask) = (self.pool.clone(), self.ask("holder", claim));
        let work = move |started: Started| {
            begun.send(()).unwrap();
            let _ = wait.recv();
            drop(started);
        };
        let held = tokio::spawn(async move { pool.run(ask, work).await });
        tokio::task::block_in_place(|| is_begun.recv().unwrap());
        (go, held)
    }

    fn ran(&self) -> Vec<String> {
        self.ran.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_fifty_costs_another_model_one_image_at_most() {
    let bench = bench(ONE);
    let (go, held) = bench.hold(0);
    let burst: Vec<_> =
        (0..50).map(|n| bench.queue(bench.ask("dicom", 60), &format!("dicom {n}"))).collect();
    let digits: Vec<_> =
        (0..3).map(|n| bench.queue(bench.ask("mnist", 1), &format!("digit {n}"))).collect();
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    futures::future::try_join_all(burst.into_iter().chain(digits)).await.unwrap();
    let ran = bench.ran();
    let expected = ["dicom 0", "digit 0", "dicom 1", "digit 1", "dicom 2", "digit 2", "dicom 3"];
    assert_eq!(&ran[..7], expected);
    assert_eq!(ran.len(), 53);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_lets_sixteen_pass_and_no_more() {
    let bench = bench(DecodeSettings { threads: 2, ..ONE });
    let (go, held) = bench.hold(50);
    // 98 fit beside nothing here, so that the place in the order is told apart from who is written down
    // first; what is larger than all there is would be decoded alone.
    let large = bench.queue(bench.ask("large", 98), "large");
    let small: Vec<_> =
        (0..40).map(|n| bench.queue(bench.ask("small", 5), &format!("small {n}"))).collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    while bench.ran().len() < 16 {
        assert!(Instant::now() < deadline, "{:?}", bench.ran());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.ran().len(), 16, "the others wait for the large one");
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    futures::future::try_join_all(small.into_iter().chain([large])).await.unwrap();
    assert_eq!(bench.ran()[16], "large", "{:?}", bench.ran());
    assert!(bench.metrics.render().contains("hilum_decode_memory_bytes 0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_decoded_for_who_is_gone_or_late() {
    let bench = bench(ONE);
    let (go, held) = bench.hold(0);
    let gone = bench.queue(bench.ask("m", 1), "gone");
    let deadline = Some(Instant::now() + Duration::from_millis(5));
    let late = bench.queue(DecodeAsk { deadline, ..bench.ask("m", 1) }, "late");
    let living = bench.queue(bench.ask("m", 1), "living");
    drop(gone);
    assert_eq!(late.await, Err(DecodePoolError::DeadlineExceeded));
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    living.await.unwrap();
    assert_eq!(bench.ran(), ["living"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_and_leaves_other_models_alone() {
    let bench = bench(DecodeSettings { queue_images: 2, queue_bytes: 3, ..ONE });
    let (go, held) = bench.hold(0);
    let waiting: Vec<_> = (0..2).map(|_| bench.queue(bench.ask("m", 1), "m")).collect();
    let refused = bench.queue(bench.ask("m", 1), "refused").await.unwrap_err();
    assert_eq!(refused, DecodePoolError::Overloaded { images: 2, bytes: 2 });
    let wide = DecodeAsk { file_bytes: 900, ..bench.ask("other", 1) };
    let other = bench.queue(wide.clone(), "one file always may wait");
    assert!(bench.queue(wide, "two").await.is_err());
    go.send(()).unwrap();
    held.await.unwrap().unwrap();
    futures::future::try_join_all(waiting.into_iter().chain([other])).await.unwrap();
    assert_eq!(bench.ran().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_told_and_the_thread_goes_on() {
    let bench = bench(ONE);
    let lost = bench.pool.run(bench.ask("m", 9), |_| -> () { panic!("on purpose") }).await;
    assert_eq!(lost, Err(DecodePoolError::Lost));
    bench.queue(bench.ask("m", 100), "next").await.unwrap();
    assert_eq!(bench.ran(), ["next"]);
}
