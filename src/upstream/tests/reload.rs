//! What a reload keeps, and what is said of a configuration that cannot be built.

use super::*;

#[tokio::test]
async fn an_unchanged_group_goes_on_with_its_connections_and_a_changed_one_starts_anew() {
    let backend = Backend::start(|_, stream| answer_all(stream, OK)).await;
    let clock = Clock::system();
    let spec = spec(Via::Http1, backend.port);
    let first = Upstreams::build(std::slice::from_ref(&spec), 1, &clock, None).ok().unwrap();
    get_text(first.get(0).unwrap(), "/").await;
    let other = UpstreamSpec { name: "other".into(), ..spec.clone() };
    let second = Upstreams::build(&[other, spec.clone()], 1, &clock, Some(&first)).ok().unwrap();
    let kept = second.get(second.by_name("backend").unwrap()).unwrap();
    assert!(Arc::ptr_eq(kept, first.get(0).unwrap()));
    get_text(kept, "/").await;
    assert_eq!(backend.connections(), 1);
    let changed = UpstreamSpec { max_idle: 3, ..spec };
    let third = Upstreams::build(&[changed], 1, &clock, Some(&second)).ok().unwrap();
    assert!(!Arc::ptr_eq(third.get(0).unwrap(), kept));
}

#[tokio::test]
async fn each_worker_keeps_connections_of_its_own() {
    let backend = Backend::start(|_, stream| answer_all(stream, OK)).await;
    let upstreams = Upstreams::build(&[spec(Via::Http1, backend.port)], 2, &Clock::system(), None).ok().unwrap();
    let upstream = upstreams.get(0).unwrap();
    for seat in [0, 1, 0, 1] {
        text(
            upstream
                .send(&permit(), seat, ("app.test", &()), request("GET", "/", RequestBody::Empty), &|_, _| {})
                .await,
        )
        .await;
    }
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_name_that_stands_twice_and_a_group_of_none_are_refused() {
    let clock = Clock::system();
    let spec = spec(Via::Http1, 1);
    let errors = Upstreams::build(&[spec.clone(), spec.clone()], 1, &clock, None).err().unwrap();
    assert!(errors[0].to_string().contains("stands twice"));
    let nobody = UpstreamSpec { servers: Vec::new(), ..spec };
    let errors = Upstreams::build(&[nobody], 1, &clock, None).err().unwrap();
    assert!(errors[0].to_string().contains("no servers"));
}
