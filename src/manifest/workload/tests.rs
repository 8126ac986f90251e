use super::*;

fn number(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).expect("the tests use no zero")
}

fn workload() -> Workload {
    Workload {
        peers: 3,
        files: 4,
        segments: 5,
        owners: Owners::Each(number(1)),
        wanted: Wanted::All,
        popularity: Popularity::Uniform,
        seed: 1,
    }
}

fn refused(workload: &Workload) -> String {
    workload.check().expect_err("the numbers do not fit").to_string()
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let base = workload();
    assert_eq!(base.check(), Ok(()));
    assert_eq!(refused(&Workload { peers: 0, ..base.clone() }), "a workload needs at least 1 peer");
    assert_eq!(refused(&Workload { files: 0, ..base.clone() }), "a workload needs at least 1 file");
    assert_eq!(
        refused(&Workload { files: 65_536, segments: 65_536, ..base.clone() }),
        "65536 files of 65536 segments are too many: 4294967295 together at most"
    );
    assert_eq!(
        refused(&Workload { owners: Owners::Each(number(4)), ..base.clone() }),
        "4 owners of each file are too many for 3 peers"
    );
    assert_eq!(
        refused(&Workload { wanted: Wanted::Drawn(number(5)), ..base.clone() }),
        "5 wanted files a peer are too many of 4 files"
    );
    assert_eq!(
        refused(&Workload { popularity: Popularity::Zipf(f64::NAN), ..base }),
        "the exponent NaN of a Zipf popularity is not a number from 0 up"
    );
}

#[test]
fn choices_parse_and_are_shown_alike() {
    assert_eq!("first".parse(), Ok(Owners::First));
    assert_eq!("2".parse(), Ok(Owners::Each(number(2))));
    assert_eq!("all".parse(), Ok(Wanted::All));
    assert_eq!("3".parse(), Ok(Wanted::Drawn(number(3))));
    assert_eq!("uniform".parse(), Ok(Popularity::Uniform));
    assert_eq!("zipf:1.1".parse(), Ok(Popularity::Zipf(1.1)));
    assert_eq!(Owners::First.to_string(), "first");
    assert_eq!(Owners::Each(number(2)).to_string(), "2");
    assert_eq!(Wanted::All.to_string(), "all");
    assert_eq!(Wanted::Drawn(number(3)).to_string(), "3");
    assert_eq!(Popularity::Uniform.to_string(), "uniform");
    assert_eq!(Popularity::Zipf(1.1).to_string(), "zipf:1.1");
}

#[test]
fn other_texts_are_refused_with_what_is_expected() {
    for text in ["", "0", "-1", "last", "4294967296"] {
        assert_eq!(
            text.parse::<Owners>().expect_err("no choice of owners").to_string(),
            format!(
                "{text:?} does not say who owns a file: \"first\" or a number from 1 up is \
                 expected"
            )
        );
    }
    for text in ["", "0", "none"] {
        assert_eq!(
            text.parse::<Wanted>().expect_err("no choice of files").to_string(),
            format!(
                "{text:?} does not say what a peer wants: \"all\" or a number from 1 up is \
                 expected"
            )
        );
    }
    for text in ["", "zipf", "zipf:", "zipf:-1", "zipf:inf", "zipf:NaN", "Uniform"] {
        assert_eq!(
            text.parse::<Popularity>().expect_err("no popularity").to_string(),
            format!(
                "{text:?} is not a popularity: \"uniform\" or \"zipf:S\", S from 0 up, is \
                 expected"
            )
        );
    }
}

#[test]
fn what_each_peer_holds_is_what_its_input_says() {
    for owners in [Owners::First, Owners::Each(number(1)), Owners::Each(number(2))] {
        for wanted in [Wanted::All, Wanted::Drawn(number(2))] {
            let workload = Workload { owners, wanted, files: 7, ..workload() };
            let inputs = super::super::synthesize(&workload).expect("the numbers fit");
            for (rank, input) in (1..).map(NodeId).zip(inputs) {
                let files = input.owned.len() + input.wanted.len();
                assert_eq!(
                    workload.segments_held_by(rank),
                    files as u64 * 5,
                    "{workload:?} {rank}"
                );
            }
        }
    }
}
