//! The libp2p behaviours of a peer and all their settings. What is done with their events is the
//! driver's business.

use std::{collections::HashSet, time::Duration};

use bayan_protocol::link::Plan;
use libp2p::{
    PeerId, StreamProtocol, allow_block_list, connection_limits,
    gossipsub::{self, IdentTopic, MessageId, TopicHash, WhitelistSubscriptionFilter},
    identify,
    identity::Keypair,
    kad, mdns, ping,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use crate::{
    Config, StartError,
    address::{Reach, Scope},
    gate,
    handle::MAX_ADVERT,
    substream,
};

/// The Kademlia protocol's name.
pub(crate) const KAD: StreamProtocol = StreamProtocol::new("/bayan/kad/1");
/// The protocol family's name in identify.
const FAMILY: &str = "/bayan/1";
/// The gossip topic of adverts.
const ADVERTS: &str = "/bayan/adverts/1";
/// Room for the author, the signature and the topic around an advert.
const ENVELOPE: usize = 1 << 10;
/// Pings are answered. This peer's own, after one on each new connection, are the driver's probes, whose
/// pace can change.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Established connections with one peer: both sides may dial at once, over both transports.
const MAX_PER_PEER: u32 = 3;
/// Connections being made at a time, each way.
const MAX_PENDING: u32 = 16;

/// Everything a peer does on its connections. Limits and refusals come first: a connection that
/// they deny is not seen by the others.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(crate) refused: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(crate) gate: gate::Behaviour,
    pub(crate) kad: kad::Behaviour<kad::store::MemoryStore>,
    pub(crate) gossip:
        gossipsub::Behaviour<gossipsub::IdentityTransform, WhitelistSubscriptionFilter>,
    mdns: Toggle<mdns::tokio::Behaviour>,
    pub(crate) streams: substream::Behaviour,
}

impl Behaviour {
    /// The behaviours of a peer under the rules of `reach`.
    pub(crate) fn new(
        config: &Config,
        keypair: &Keypair,
        reach: &Reach,
        plan: Plan,
    ) -> Result<Self, StartError> {
        let id = keypair.public().to_peer_id();
        Ok(Self {
            limits: limits(config.max_peers),
            refused: allow_block_list::Behaviour::default(),
            identify: identify::Behaviour::new(
                identify::Config::new(FAMILY.to_owned(), keypair.public())
                    .with_agent_version(config.agent.clone())
                    .with_interval(plan.identify_every)
                    .with_push_listen_addr_updates(true)
                    // Addresses are told through the set of external ones, which the driver filters,
                    // and remembered in the driver's own book.
                    .with_hide_listen_addrs(true)
                    .with_cache_size(0),
            ),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(NEVER)),
            gate: gate::Behaviour::new(!config.only_bootstrap),
            kad: kademlia(id, plan.serves_discovery),
            gossip: gossip(keypair, reach.scope(), plan.passes_adverts_on)?,
            mdns: multicast(config.mdns && reach.scope() == Scope::Wide, id).into(),
            streams: substream::Behaviour::default(),
        })
    }
}

/// The topic of adverts.
pub(crate) fn adverts() -> IdentTopic {
    IdentTopic::new(ADVERTS)
}

/// Its name on the wire.
pub(crate) fn advert_topic() -> TopicHash {
    adverts().hash()
}

fn limits(max_peers: u32) -> connection_limits::Behaviour {
    let share = |fifths: u32| Some((max_peers.saturating_mul(fifths) / 5).max(1));
    connection_limits::Behaviour::new(
        connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(MAX_PENDING))
            .with_max_pending_outgoing(Some(MAX_PENDING))
            .with_max_established_incoming(share(3))
            .with_max_established_outgoing(share(2))
            .with_max_established(Some(max_peers.max(2)))
            .with_max_established_per_peer(Some(MAX_PER_PEER)),
    )
}

fn kademlia(id: PeerId, serves: bool) -> kad::Behaviour<kad::store::MemoryStore> {
    let mut config = kad::Config::new(KAD);
    config
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_query_timeout(Duration::from_secs(30))
        // The driver walks by a schedule of its own.
        .set_periodic_bootstrap_interval(None)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None);
    // Records of others are filtered and never admitted, providers of blobs by the driver.
    let store = kad::store::MemoryStoreConfig {
        max_records: 64,
        max_value_bytes: 4 << 10,
        max_providers_per_key: 20,
        max_provided_keys: 4096,
    };
    let mut kad =
        kad::Behaviour::with_config(id, kad::store::MemoryStore::with_config(id, store), config);
    kad.set_mode(Some(if serves { kad::Mode::Server } else { kad::Mode::Client }));
    kad
}

fn gossip(
    keypair: &Keypair,
    scope: Scope,
    subscribes: bool,
) -> Result<
    gossipsub::Behaviour<gossipsub::IdentityTransform, WhitelistSubscriptionFilter>,
    StartError,
> {
    let failed = |error: &dyn std::fmt::Display| StartError::Setup(format!("gossip: {error}"));
    let config = gossipsub::ConfigBuilder::default()
        .mesh_n(6)
        .mesh_n_low(4)
        .mesh_n_high(12)
        .mesh_outbound_min(2)
        .heartbeat_initial_delay(Duration::from_millis(500))
        .heartbeat_interval(Duration::from_secs(1))
        .flood_publish(false)
        .validate_messages()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .duplicate_cache_time(Duration::from_secs(180))
        .max_transmit_size(MAX_ADVERT + ENVELOPE)
        // A list of ids (34 bytes each) has to fit the same limit.
        .max_control_messages_sent(200)
        .connection_handler_queue_len(256)
        .message_id_fn(|message| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(message.topic.as_str().as_bytes()).update(&message.data);
            MessageId::new(hasher.finalize().as_bytes())
        })
        .build()
        .map_err(|error| failed(&error))?;
    let topic = IdentTopic::new(ADVERTS);
    let filter = WhitelistSubscriptionFilter(HashSet::from([topic.hash()]));
    let signing = gossipsub::MessageAuthenticity::Signed(keypair.clone());
    let mut gossip = gossipsub::Behaviour::new_with_subscription_filter(signing, config, filter)
        .map_err(|error| failed(&error))?;
    let (params, thresholds) = scoring(&topic, scope);
    gossip.with_peer_score(params, thresholds).map_err(|error| failed(&error))?;
    if subscribes {
        gossip.subscribe(&topic).map_err(|error| failed(&error))?;
    }
    Ok(gossip)
}

/// Scores by invalid messages, bad manners and many peers on one address. The defaults would also
/// punish a quiet topic, and reward mere presence.
fn scoring(
    topic: &IdentTopic,
    scope: Scope,
) -> (gossipsub::PeerScoreParams, gossipsub::PeerScoreThresholds) {
    let per_topic = gossipsub::TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: gossipsub::score_parameter_decay(Duration::from_secs(
            600,
        )),
        ..Default::default()
    };
    let params = gossipsub::PeerScoreParams {
        topics: [(topic.hash(), per_topic)].into(),
        // Loopback is one address for everybody; elsewhere a classroom behind one router is fine.
        ip_colocation_factor_weight: if scope == Scope::Loopback { 0.0 } else { -1.0 },
        ip_colocation_factor_threshold: 32.0,
        ..Default::default()
    };
    (params, gossipsub::PeerScoreThresholds::default())
}

fn multicast(wanted: bool, id: PeerId) -> Option<mdns::tokio::Behaviour> {
    if !wanted {
        return None;
    }
    mdns::tokio::Behaviour::new(mdns::Config::default(), id)
        .inspect_err(|error| tracing::warn!(%error, "peers on the local network will not be found by multicast"))
        .ok()
}
