//! A member with a valid certificate that speaks as it likes, over TLS on TCP.

use quar_base::action::Action;
use quar_base::arrival::{Arrival, Envelope, Headers};
use quar_base::class::Class;
use quar_base::coverage::RecipientSet;
use quar_base::ids::{BodyId, MemberId};
use quar_base::key::{Bucket, RecordKey};
use quar_base::record::{ActionHead, Head, Kind, Record};
use quar_base::signing::SigningKey;
use quar_base::time::{Day, UnixMillis};
use quar_store::CodedBody;
use quard::config::{Identity, Paths};
use quard::demo::cluster::NodeProcess;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What both sides send before any frame (docs/formats.md, "Preamble").
const PREAMBLE: [u8; 8] = *b"QUARD\0\x01\0";

pub const HELLO: u8 = 1;
pub const FLOORS: u8 = 2;
pub const ROSTER: u8 = 3;
pub const BUCKETS: u8 = 4;
pub const WANT_KEYS: u8 = 6;
pub const BATCH: u8 = 8;
pub const ACK: u8 = 9;
pub const WANT_BODIES: u8 = 10;
pub const OFFER: u8 = 14;
pub const TAKE: u8 = 15;
pub const LOT_SENT: u8 = 16;
pub const HURRY: u8 = 18;

/// What a member knows: its own secrets and the cluster's.
pub struct Liar {
    pub identity: Identity,
    pub now: UnixMillis,
    to: MemberId,
    address: std::net::SocketAddr,
}

impl Liar {
    /// Plays `as_node`, which must not run, towards `to`.
    pub fn new(as_node: &NodeProcess, to: &NodeProcess) -> Self {
        let identity = Identity::load(&Paths::under(Some(&as_node.root))).unwrap();
        let member = Identity::load(&Paths::under(Some(&to.root))).unwrap().member;
        let now = quard::daemon::clock::Clock::start().now();
        Self { identity, now, to: member, address: to.sync }
    }

    /// A connection after both preambles.
    pub async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.identity.authority.clone())).unwrap();
        let certificate = CertificateDer::from(self.identity.certificate.clone());
        let key = PrivatePkcs8KeyDer::from(self.identity.private_key.to_vec());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], PrivateKeyDer::Pkcs8(key))
            .unwrap();
        config.alpn_protocols = vec![b"quar-sync/1".to_vec()];
        let name = ServerName::try_from(quar_net::certificate_name(self.to)).unwrap();
        let stream = TcpStream::connect(self.address).await?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(&PREAMBLE).await?;
        let mut theirs = [0; 8];
        stream.read_exact(&mut theirs).await?;
        Ok(stream)
    }

    /// A connection that has greeted; what comes is read and forgotten.
    pub async fn greet(&self) -> std::io::Result<WriteHalf<TlsStream<TcpStream>>> {
        let (mut read, mut write) = tokio::io::split(self.connect().await?);
        write.write_all(&self.hello()).await?;
        write.flush().await?;
        tokio::spawn(async move {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(1..) = read.read(&mut bytes).await {}
        });
        Ok(write)
    }

    /// A greeting with a right clock and nothing else true in it.
    pub fn hello(&self) -> Vec<u8> {
        let mut payload = vec![0; 63];
        payload[0] = 4;
        payload[1..7].copy_from_slice(&self.now.0.to_le_bytes()[..6]);
        frame(HELLO, &payload)
    }

    pub fn bucket(&self) -> Bucket {
        Bucket { class: Class::SPAM, day: self.now.day() }
    }

    /// The record of an arrival with this body, stamped `second` seconds into `day`.
    pub fn arrival(&self, day: Day, second: u32, body: &CodedBody) -> Record {
        let arrival = Arrival {
            node_number: 3,
            body_id: body.id.0,
            body_bytes: body.raw_bytes.into(),
            envelope: Envelope::default(),
            headers: Headers::default(),
            score_milli: 0,
            reason: String::new(),
        };
        let bucket = Bucket { class: Class::SPAM, day };
        let author = self.identity.member;
        let head = Head { kind: Kind::ARRIVAL, bucket, second, author, action: None };
        Record::unsigned(head, &arrival.encode().unwrap()).unwrap()
    }

    pub fn body(&self, bytes: &[u8]) -> CodedBody {
        CodedBody::encode(bytes, None, &self.identity.id_key).unwrap()
    }

    /// A delete of a message in `bucket`, in the name of `author` and signed with `signing`.
    pub fn delete(
        &self,
        bucket: Bucket,
        message: RecordKey,
        author: MemberId,
        (named, signing): (&SigningKey, &SigningKey),
    ) -> Record {
        let action = Action::Deleted(RecipientSet::all(1).unwrap());
        let head = Head {
            kind: action.kind(),
            bucket,
            second: self.now.second_of(bucket.day),
            author,
            action: Some(ActionHead { key_id: named.public().key_id(), message }),
        };
        Record::signed(head, &action.encode().unwrap(), |text| signing.sign(text)).unwrap()
    }

    /// A delete of its own.
    pub fn own_delete(&self, bucket: Bucket, message: RecordKey) -> Record {
        let key = &self.identity.signing;
        self.delete(bucket, message, self.identity.member, (key, key))
    }
}

pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    [&length.to_le_bytes()[..], &[kind], payload].concat()
}

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn put_bucket(bucket: Bucket) -> Vec<u8> {
    [vec![bucket.class.0], varint(bucket.day.0.into())].concat()
}

pub fn batch(sequence: u64, items: &[Vec<u8>]) -> Vec<u8> {
    let head = [varint(sequence), varint(items.len() as u64)].concat();
    frame(BATCH, &[head, items.concat()].concat())
}

pub fn record_item(record: &Record) -> Vec<u8> {
    [vec![1], varint(record.bytes().len() as u64), record.bytes().to_vec()].concat()
}

/// A record with a body beside it, which need not be the one it names.
pub fn with_body(record: &Record, body: &CodedBody) -> Vec<u8> {
    let mut item = record_item(record);
    item[0] = 2;
    item.extend(varint(body.raw_bytes.into()));
    item.push(body.codec as u8);
    item.extend(varint(body.bytes.len() as u64));
    item.extend_from_slice(&body.bytes);
    item
}

pub fn named_bodies(kind: u8, bucket: Bucket, ids: impl IntoIterator<Item = BodyId>) -> Vec<u8> {
    let bodies: Vec<Vec<u8>> =
        ids.into_iter().map(|id| [put_bucket(bucket), id.0.to_vec()].concat()).collect();
    frame(kind, &[varint(bodies.len() as u64), bodies.concat()].concat())
}

/// A lot of all records of a bucket, said to be so many.
pub fn put_span(bucket: Bucket, count: u64) -> Vec<u8> {
    [vec![0, 0], put_bucket(bucket), varint(0), varint(86_399), varint(count)].concat()
}

/// A lot of these records.
pub fn put_keys(bucket: Bucket, mut keys: Vec<RecordKey>) -> Vec<u8> {
    keys.sort_unstable();
    let mut second = 0;
    let name = |key: &RecordKey| {
        let later = varint(u64::from(key.second - second));
        second = key.second;
        [&later[..], &key.id.0].concat()
    };
    let names: Vec<_> = keys.iter().map(name).collect();
    [vec![2, 0], put_bucket(bucket), varint(keys.len() as u64), names.concat()].concat()
}

/// Asks for all keys that there are, as often as one frame can.
pub fn want_all_keys(bucket: Bucket) -> Vec<u8> {
    // Of the same bucket as the one before, all of it, nothing besides, one short.
    let place = [0, 0, 1, 0, 0, 0, 0];
    let more = [&[1], &place[..]].concat();
    let count = 1000;
    let first = [&[0], &put_bucket(bucket)[..], &place].concat();
    frame(WANT_KEYS, &[varint(count), first, more.repeat(count as usize - 1)].concat())
}
