//! Measures one connection over loopback: how many frames of 9 kB a second, over each transport.
//! Never judges the figures: it prints them.
//!
//! `cargo run -p quar-net --example throughput [FRAMES [BYTES]]`

use quar_base::ids::MemberId;
use quar_net::{Connection, Endpoint, Identity, Preference, Settings, certificate_name};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(worker_threads = 2)]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let frames = arguments.next().transpose()?.unwrap_or(50_000);
    let bytes = arguments.next().transpose()?.unwrap_or(9_000);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let (near, far) = (endpoint(&authority, 1)?, endpoint(&authority, 2)?);
    let to = [far.local_address().to_string()];
    for prefer in [Preference::OnlyQuic, Preference::OnlyTcp] {
        let (dialed, taken) = tokio::join!(near.dial(&to, MemberId([2; 16]), prefer), far.accept());
        let (dialed, taken) = (dialed?, taken.ok_or("shut down")??);
        let transport = dialed.transport;
        let begun = Instant::now();
        let receiving = tokio::spawn(receive(taken, frames));
        send(dialed, frames, bytes).await?;
        receiving.await??;
        let seconds = begun.elapsed().as_secs_f64();
        let frames_s = frames as f64 / seconds;
        let megabytes_s = frames_s * bytes as f64 / 1e6;
        println!("{transport}: {frames} frames of {bytes} bytes in {seconds:.2} s,");
        println!("      {frames_s:.0} frames/s, {megabytes_s:.0} MB/s");
    }
    Ok(())
}

fn endpoint(authority: &CertifiedIssuer<'_, KeyPair>, number: u8) -> Outcome<Endpoint> {
    let key = KeyPair::generate()?;
    let names = vec![certificate_name(MemberId([number; 16]))];
    let certificate = CertificateParams::new(names)?.signed_by(&key, authority)?;
    let identity =
        Identity::new(certificate.der().to_vec(), key.serialize_der(), authority.der().to_vec())?;
    let everyone = Arc::new(|_, _: &_| true);
    let settings = Settings::new("127.0.0.1:0".parse()?, identity, everyone);
    Ok(Endpoint::bind(settings)?)
}

async fn send(mut connection: Connection, frames: usize, bytes: usize) -> Outcome<()> {
    let payload = vec![0x5a; bytes];
    for _ in 0..frames {
        connection.sender.send(1, &[&payload]).await?;
    }
    connection.sender.flush().await?;
    // The acknowledgement of the last frame.
    connection.receiver.next().await?.ok_or("ended early")?;
    Ok(())
}

async fn receive(mut connection: Connection, frames: usize) -> Outcome<()> {
    for _ in 0..frames {
        connection.receiver.next().await?.ok_or("ended early")?;
    }
    connection.sender.send(2, &[]).await?;
    connection.sender.finish().await?;
    Ok(())
}
