use mpiswarm::simulation::{Scenario, World};
fn main() {
    let a: Vec<u32> = std::env::args().skip(1).map(|x| x.parse().unwrap()).collect();
    for (n, m) in [(31u32, 256u32), (63, 512), (127, 128)] {
        let mut line = String::new();
        for seed in 1..=3 {
            let mut s = Scenario::broadcast(n, m, seed);
            s.config.window = a[0] as usize;
            s.config.holder_load = a[1];
            s.config.uploads = a[2] as usize;
            s.config.upload_queue = 2 * a[1] as usize;
            let run = World::new(s).run();
            let b = f64::from(m + n.ilog2());
            line += &format!(
                " {:.3}/{:.2}/{:.2}",
                run.makespan.as_secs_f64() * 1e3 / b,
                run.served[1] as f64 / f64::from(m),
                *run.served.iter().max().unwrap() as f64 * n as f64 / (n * m) as f64
            );
        }
        println!("{a:?} {n}x{m}:{line}");
    }
}
