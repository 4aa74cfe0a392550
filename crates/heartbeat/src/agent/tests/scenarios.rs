//! Named faults and what follows.

use super::*;

#[test]
fn a_cold_start_brings_everything_home() {
    let mut world = World::new();
    let took = world.run_until("home", 6000, World::is_home);
    assert!(took >= 700, "a voter grants nothing for a lease's length after its start");
    assert!(world.nodes[&A].agent.status(time(world.now)).waits.is_empty());
}

#[test]
fn a_killed_node_is_replaced_within_a_second() {
    let mut world = World::started();
    world.kill(A);
    let took = world
        .run_until("takeover", 1000, |w| w.leader_serving(&vol(1)) == [B] && w.owner_serving(ip(1)) == [B]);
    assert!(took >= 500, "{took}");
    assert!(!world.up(A));
    assert_eq!(world.state().volumes[&vol(1)].in_sync, [(B, device(B, &vol(1)))].into());
}

#[test]
fn the_successor_says_that_it_waits_for_the_lease() {
    let mut world = World::started();
    world.kill(A);
    world.run_until("fence", 800, |w| !w.up(A));
    world.run(20);
    let waits = world.nodes[&B].agent.status(time(world.now)).waits;
    assert!(waits.iter().any(|w| w.starts_with("vol1: waits 0.") && w.ends_with("lease of m1")), "{waits:?}");
}

#[test]
fn a_killed_node_returns_and_gets_its_things_back() {
    let mut world = World::started();
    world.kill(A);
    world.run(3000);
    world.start(A);
    world.run_until("home", 8000, World::is_home);
}

#[test]
fn a_quick_restart_is_noticed_though_nobody_missed_the_node() {
    let mut world = World::started();
    let stint = world.state().members[&A].stint;
    let epoch = world.state().volumes[&vol(1)].epoch;
    world.kill(A);
    world.run(100);
    world.start(A);
    world.run_until("home", 8000, World::is_home);
    assert!(world.state().members[&A].stint > stint, "admitted anew");
    assert!(world.state().volumes[&vol(1)].epoch > epoch, "an old life's leadership is over (R4)");
}

#[test]
fn a_cut_between_the_nodes_leaves_one_survivor_for_everything() {
    let mut world = World::started();
    world.set_cut(A, B, true);
    world.run_until("survivor", 1500, |w| {
        [1, 2].iter().all(|n| w.leader_serving(&vol(*n)) == [A] && w.owner_serving(ip(*n)) == [A])
    });
    assert!(world.up(A) && !world.up(B), "of equals the lower id survives (R6)");
    let membership = world.state().membership_epoch;
    world.run(10_000);
    assert_eq!(world.state().membership_epoch, membership, "the other does not come back into a cut");
    world.set_cut(A, B, false);
    world.run_until("home", 8000, World::is_home);
}

#[test]
fn a_cut_in_one_direction_is_a_cut() {
    for pair in [(A, B), (B, A)] {
        let mut world = World::started();
        world.cut.insert(pair);
        world.run(3000);
        assert!(world.up(A) && !world.up(B), "{pair:?}");
        world.run(8000);
        assert!(!world.up(B), "it does not come back into a cut");
        world.heal();
        world.run_until("home", 8000, World::is_home);
    }
}

#[test]
fn the_node_with_more_in_sync_copies_survives_a_cut() {
    let mut world = World::started();
    world.kill(A);
    world.run(1500);
    world.start(A);
    // Back in, but its copies are not in sync yet.
    world.run_until("return", 4000, |w| w.up(A));
    world.set_cut(A, B, true);
    world.run(2500);
    assert!(world.up(B) && !world.up(A));
}

#[test]
fn a_node_paused_past_its_lease_wakes_without_any_rights() {
    let mut world = World::started();
    world.pause(A, 4000);
    world.run_until("takeover", 1100, |w| w.leader_serving(&vol(1)) == [B]);
    world.run(4000);
    assert!(world.up(B), "the sleeper fenced nobody when it woke");
    world.run_until("home", 8000, World::is_home);
}

#[test]
fn without_a_quorum_a_node_steps_down_and_says_why() {
    let mut world = World::started();
    world.kill(B);
    world.kill(W);
    world.run(1500);
    assert!(world.leader_serving(&vol(1)).is_empty() && world.owner_serving(ip(1)).is_empty());
    let waits = world.nodes[&A].agent.status(time(world.now)).waits;
    assert_eq!(waits[0], "no quorum: 2 of 3 voters do not answer (m2, m3)");
    world.heal();
    world.run_until("home", 10_000, World::is_home);
}

#[test]
fn a_drained_node_gives_everything_away_as_planned_moves_and_gets_it_back() {
    let mut world = World::started();
    let epoch = world.state().volumes[&vol(2)].epoch;
    let life = world.nodes[&A].life;
    world.push(0, Event::Input { to: A, life, input: Input::Drain { node: B, on: true } });
    let took = world
        .run_until("drained", 200, |w| w.leader_serving(&vol(2)) == [A] && w.owner_serving(ip(2)) == [A]);
    assert!(took < 100, "{took} ms in a planned move");
    let v = &world.state().volumes[&vol(2)];
    assert_eq!((v.in_sync.len(), v.epoch), (2, epoch.next()), "a planned move keeps the in-sync set");
    assert!(world.up(B));
    world.push(0, Event::Input { to: A, life, input: Input::Drain { node: B, on: false } });
    world.run_until("home", 6000, World::is_home);
}

#[test]
fn a_node_that_ends_as_soon_as_it_has_handed_over_does_not_keep_the_next_leader_from_opening() {
    let mut world = World::started();
    let life = world.nodes[&A].life;
    world.push(0, Event::Input { to: A, life, input: Input::Drain { node: A, on: true } });
    world.run_until("moved", 200, |w| w.state().volumes[&vol(1)].leader == Some(B));
    world.kill(A);
    world.run_until("served", 2000, |w| w.leader_serving(&vol(1)) == [B]);
}

#[test]
fn a_replica_that_is_lost_while_the_volume_is_opened_is_left_behind() {
    let mut world = World::started();
    let life = world.nodes[&A].life;
    world.push(0, Event::Input { to: A, life, input: Input::Drain { node: A, on: true } });
    world.run_until("moved", 200, |w| w.state().volumes[&vol(1)].leader == Some(B));
    world.replica_cut = true;
    world.run_until("served", 4000, |w| w.leader_serving(&vol(1)) == [B]);
    assert!(world.up(A));
}

#[test]
fn a_replica_that_dies_while_the_volume_is_closed_does_not_hold_up_the_close() {
    let mut world = World::started();
    let epoch = world.state().volumes[&vol(2)].epoch;
    let life = world.nodes[&B].life;
    world.push(0, Event::Input { to: B, life, input: Input::Drain { node: B, on: true } });
    world.run_until("closing", 200, |w| !w.nodes[&B].leads[&vol(2)].serves);
    world.kill(A);
    world.run_until("opened again", 3000, |w| w.leader_serving(&vol(2)) == [B]);
    assert!(world.state().volumes[&vol(2)].epoch > epoch, "what is closed is opened in a new epoch");
}

#[test]
fn a_copy_that_dies_as_it_joins_is_no_longer_waited_for() {
    let mut world = World::started();
    world.kill(B);
    world.run(3000);
    world.start(B);
    world.run_until("joins", 8000, |w| w.nodes[&A].leads[&vol(1)].pending.is_some());
    world.kill(B);
    let alone: Members = [(A, device(A, &vol(1)))].into();
    world.run_until("alone", 3000, |w| w.nodes[&A].leads[&vol(1)].counted() == alone);
    world.start(B);
    world.run_until("home", 10_000, World::is_home);
}

#[test]
fn an_old_answer_does_not_count_for_a_newer_join() {
    let mut world = World::started();
    world.replica_cut = true;
    world.run_until("left", 3000, |w| w.state().volumes[&vol(1)].in_sync.len() == 1);
    world.replica_cut = false;
    world.run_until("joins", 2000, |w| w.nodes[&A].leads[&vol(1)].pending.is_some());
    // The link is lost and back before the first answer; the second order is refused.
    let epoch = world.state().volumes[&vol(1)].epoch;
    let (volume, device) = (vol(1), device(B, &vol(1)));
    let lost = VolumeReport::PeerLost { volume: volume.clone(), epoch, node: B, disk: false };
    let synced = VolumeReport::PeerSynced { volume: volume.clone(), epoch, node: B, device };
    let union = world.nodes[&A].leads[&vol(1)].pending.clone().unwrap();
    let now = time(world.now);
    let agent = &mut world.nodes.get_mut(&A).unwrap().agent;
    agent.handle(now, Input::Volume(lost));
    agent.handle(now, Input::Volume(synced));
    agent.handle(now, Input::Volume(VolumeReport::UnionHeld { volume, epoch, union }));
    let orders: Vec<Output> = std::iter::from_fn(|| agent.poll_output()).collect();
    let joins = |o: &Output| matches!(o, Output::Propose { command: Command::JoinInSync { .. }, .. });
    assert!(!orders.iter().any(joins), "{orders:?}");
}

#[test]
fn a_lost_replica_link_alone_costs_the_replica_not_the_node() {
    let mut world = World::started();
    world.replica_cut = true;
    world.run(1500);
    assert_eq!(world.state().volumes[&vol(1)].in_sync.len(), 2, "it may be a cut: wait for the fence");
    world.run_until("left", 1000, |w| w.state().volumes[&vol(1)].in_sync.len() == 1);
    assert!(world.up(B));
    world.replica_cut = false;
    world.run_until("in sync again", 2000, World::is_home);
}

#[test]
fn a_failed_disk_of_the_leader_moves_the_volume() {
    let mut world = World::started();
    world.report(A, 0, VolumeReport::DiskFailed { volume: vol(1) });
    world.run_until("moved", 200, |w| w.leader_serving(&vol(1)) == [B]);
}

#[test]
fn a_leader_with_a_failed_disk_throws_no_copy_out() {
    let mut world = World::started();
    let epoch = world.state().volumes[&vol(1)].epoch;
    // Its links end with its disk: what it says of the others is worth nothing.
    world.report(A, 0, VolumeReport::DiskFailed { volume: vol(1) });
    world.report(A, 0, VolumeReport::PeerLost { volume: vol(1), epoch, node: B, disk: true });
    world.run_until("moved", 200, |w| w.leader_serving(&vol(1)) == [B]);
}

#[test]
fn a_failed_disk_never_costs_the_copy_of_a_node_that_is_silent_just_now() {
    let mut met = 0;
    for silent in (360..460).step_by(4) {
        let mut world = World::started();
        world.pause(B, 3000);
        world.run(silent);
        if world.state().volumes[&vol(1)].in_sync.len() < 2 {
            continue;
        }
        met += 1;
        world.report(A, 0, VolumeReport::DiskFailed { volume: vol(1) });
        world.run_until("home", 10_000, |w| w.leader_serving(&vol(1)) == [B]);
    }
    assert!(met > 10, "{met}");
}

#[test]
fn a_lost_replica_with_a_failed_disk_leaves_at_once() {
    let mut world = World::started();
    let epoch = world.state().volumes[&vol(1)].epoch;
    world.report(A, 0, VolumeReport::PeerLost { volume: vol(1), epoch, node: B, disk: true });
    world.run_until("left", 100, |w| w.state().volumes[&vol(1)].in_sync.len() == 1);
}

#[test]
fn both_nodes_down_and_one_back_serves_everything_it_has() {
    let mut world = World::started();
    world.kill(A);
    world.kill(B);
    world.run(2000);
    world.start(A);
    world.run_until("one serves", 8000, |w| {
        [1, 2].iter().all(|n| w.leader_serving(&vol(*n)) == [A] && w.owner_serving(ip(*n)) == [A])
    });
}

#[test]
fn a_volume_waits_for_the_only_node_that_has_all_of_it() {
    let mut world = World::started();
    world.kill(A);
    world.run(2000);
    world.kill(B);
    world.start(A);
    world.run(8000);
    assert!(world.leader_serving(&vol(1)).is_empty() && world.leader_serving(&vol(2)).is_empty());
    let waits = world.nodes[&A].agent.status(time(world.now)).waits;
    assert!(waits.iter().any(|w| w.contains("waits for m2")), "{waits:?}");
    world.start(B);
    world.run_until("home", 10_000, World::is_home);
}
