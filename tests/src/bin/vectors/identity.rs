//! Peers, digests and signatures.

use bayan_protocol::{
    crypto::{Domain, Keypair, Signature},
    id::{Hash, PeerId},
};

use crate::{
    cast,
    file::{Case, File},
};

/// The order of Ed25519's base point, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];
/// Scalar that makes the neutral element as R a solution of the plain equation, for the worker's key,
/// the advert domain and the message "m".
const SCALAR_OF_NEUTRAL: &str = "01197c6e75dd2451d976e1534bee35ecde07474563e0f2cce945246583ffea03";
/// Seed of the Ed25519 example in libp2p's peer-id specification.
const LIBP2P_SEED: &str = "7e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d";

pub(crate) fn files() -> Vec<File> {
    vec![
        File::new(
            "identity/peers.json",
            "Secret seeds, the peers they make, and those peers' libp2p ids; libp2p ids that name no peer.",
            &["ID-1", "ID-2"],
            peers(),
        ),
        File::new(
            "identity/ids.json",
            "Content and its digest; ids as text, readable (valid) and not.",
            &["ID-5", "ID-8"],
            ids(),
        ),
        File::new(
            "identity/signatures.json",
            "Signatures under each domain, and signatures that must be refused.",
            &["ID-3", "ID-4"],
            signatures(),
        ),
    ]
}

/// A peer's id as libp2p's bytes.
fn libp2p(peer: &PeerId) -> Vec<u8> {
    [&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20][..], peer.as_bytes()].concat()
}

fn peers() -> Vec<Case> {
    let mut example = [0; 32];
    hex::decode_to_slice(LIBP2P_SEED, &mut example).expect("64 digits");
    let seeds =
        [("zeros", [0; 32]), ("ones", [1; 32]), ("twos", [2; 32]), ("libp2p's example", example)];
    let mut cases: Vec<Case> = seeds
        .iter()
        .map(|(name, seed)| {
            let peer = Keypair::from_seed(seed).peer_id();
            Case::valid(name)
                .with("seed", hex::encode(seed))
                .with("peer", peer.to_string())
                .bytes("libp2p", &libp2p(&peer))
        })
        .collect();
    let key = cast::worker().peer_id();
    let mut sha256 = vec![0x12, 0x20];
    sha256.extend_from_slice(&Hash::of(b"an RSA key").0);
    let mut secp256k1 = vec![0x00, 0x25, 0x08, 0x02, 0x12, 0x21, 0x02];
    secp256k1.extend_from_slice(key.as_bytes());
    let mut short = libp2p(&key);
    short.pop();
    for (name, bytes) in [
        ("a SHA-256 multihash, as RSA keys have", sha256),
        ("a secp256k1 key", secp256k1),
        ("an Ed25519 key one byte short", short),
        ("the bare key", key.as_bytes().to_vec()),
    ] {
        cases.push(Case::invalid(name, "not-ed25519").bytes("libp2p", &bytes));
    }
    cases
}

fn ids() -> Vec<Case> {
    let contents: [(&str, Vec<u8>); 5] = [
        ("nothing", Vec::new()),
        ("a word", b"bayan".to_vec()),
        ("one block", vec![0; 1024]),
        ("one byte more than a block", vec![0; 1025]),
        ("one byte more than travels inline", vec![0x61; 16_385]),
    ];
    let mut cases: Vec<Case> = contents
        .iter()
        .map(|(name, content)| {
            Case::valid(name)
                .bytes("content", content)
                .with("digest", Hash::of(content).to_string())
        })
        .collect();
    let text = Hash::of(b"bayan").to_string();
    cases.push(Case::valid("text").with("text", text.clone()));
    for (name, text) in [
        ("no digits", String::new()),
        ("63 digits", text[1..].to_owned()),
        ("66 digits", format!("00{text}")),
        ("a letter past f", format!("g{}", &text[1..])),
        ("a prefix", format!("0x{}", &text[2..])),
        ("a space", format!(" {}", &text[1..])),
    ] {
        cases.push(Case::invalid(name, "not-an-id").with("text", text));
    }
    cases
}

fn signed(
    case: Case,
    signer: &PeerId,
    domain: Domain,
    message: &[u8],
    signature: &Signature,
) -> Case {
    case.with("signer", signer.to_string())
        .with("domain", domain.text())
        .bytes("message", message)
        .with("signature", hex::encode(signature.0))
}

/// The same signature with the group's order added to its scalar.
fn stretched(signature: &Signature) -> Signature {
    let mut bytes = signature.0;
    let mut carry = 0_u16;
    for (byte, more) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(more) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
    Signature(bytes)
}

fn signatures() -> Vec<Case> {
    let (key, other) = (cast::worker(), cast::stranger());
    let me = key.peer_id();
    let mut cases = Vec::new();
    let domains =
        [Domain::ResultBatch, Domain::Ack, Domain::Advert, Domain::Lease, Domain::Delegate];
    for domain in domains {
        for (what, message) in
            [("an empty message", &b""[..]), ("a message", b"m"), ("a long message", &[7; 300])]
        {
            let name = format!("{what} under {}", domain.text());
            cases.push(signed(
                Case::valid(&name),
                &me,
                domain,
                message,
                &key.sign(domain, message),
            ));
        }
    }
    let good = key.sign(Domain::Ack, b"m");
    for domain in [Domain::ResultBatch, Domain::Advert] {
        let name = format!("of bayan/ack/1 under {}", domain.text());
        cases.push(signed(Case::invalid(&name, "signature"), &me, domain, b"m", &good));
    }
    let mut bent = good;
    bent.0[0] ^= 1;
    let mut bent_scalar = good;
    bent_scalar.0[32] ^= 1;
    let neutral = {
        let mut bytes = [0; 32];
        bytes[0] = 1;
        bytes
    };
    let mut of_small_order = Signature([0; 64]);
    of_small_order.0[..32].copy_from_slice(&neutral);
    let mut small_r = of_small_order;
    hex::decode_to_slice(SCALAR_OF_NEUTRAL, &mut small_r.0[32..]).expect("64 digits");
    let ack = |name, signer: &PeerId, message: &[u8], signature: &Signature| {
        signed(Case::invalid(name, "signature"), signer, Domain::Ack, message, signature)
    };
    cases.extend([
        ack("of another key", &other.peer_id(), b"m", &good),
        ack("of another message", &me, b"n", &good),
        ack("of a message that begins alike", &me, b"mm", &good),
        ack("a bit of R flipped", &me, b"m", &bent),
        ack("a bit of the scalar flipped", &me, b"m", &bent_scalar),
        ack("a scalar not below the order (malleable)", &me, b"m", &stretched(&good)),
        ack(
            "a key of small order (the neutral element), which a lax check accepts",
            &PeerId(neutral),
            b"m",
            &of_small_order,
        ),
        ack("a key of order four", &PeerId([0; 32]), b"m", &of_small_order),
        ack("a key that is no point", &PeerId([2; 32]), b"m", &good),
        ack("all zeros", &me, b"m", &Signature([0; 64])),
        signed(
            Case::invalid("R of small order, which a lax check accepts", "signature"),
            &me,
            Domain::Advert,
            b"m",
            &small_r,
        ),
    ]);
    cases
}
