use proptest::prelude::*;

use super::*;

fn any_run() -> impl Strategy<Value = RunKey> {
    any::<([u8; 18], u32, u64)>().prop_map(|(daemon, index, generation)| RunKey {
        daemon,
        index,
        generation,
    })
}

fn any_to_keeper() -> impl Strategy<Value = ToKeeper> {
    prop_oneof![
        Just(ToKeeper::Hello),
        any_run().prop_map(|run| ToKeeper::Hold { run }),
        any_run().prop_map(|run| ToKeeper::Drop { run }),
        any::<(i32, u64)>().prop_map(|(pid, start_time)| ToKeeper::Ack { pid, start_time }),
    ]
}

fn any_to_worker() -> impl Strategy<Value = ToWorker> {
    let status = prop_oneof![
        any::<i32>().prop_map(ExitStatus::Code),
        any::<i32>().prop_map(ExitStatus::Signal),
    ];
    prop_oneof![
        Just(ToWorker::Terminate),
        any::<u32>().prop_map(|held| ToWorker::HelloDone { held }),
        (any::<(i32, u64)>(), status).prop_map(|((pid, start_time), status)| ToWorker::Exited {
            pid,
            start_time,
            status,
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_said_is_understood(up in any_to_keeper(), down in any_to_worker()) {
        prop_assert!(up.encode().len() <= MAX_FRAME && down.encode().len() <= MAX_FRAME);
        prop_assert_eq!(ToKeeper::decode(&up.encode()), Some(up));
        prop_assert_eq!(ToWorker::decode(&down.encode()), Some(down));
    }

    #[test]
    fn any_bytes_are_one_message_or_none(
        first in prop::sample::select(b"h+-acsdt".as_slice()),
        rest in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let bytes = [&[first][..], &rest].concat();
        if let Some(message) = ToKeeper::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes.clone());
        }
        if let Some(message) = ToWorker::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }

    #[test]
    fn a_cut_or_longer_frame_is_refused(up in any_to_keeper(), extra in any::<u8>()) {
        let mut frame = up.encode();
        prop_assert_eq!(ToKeeper::decode(&frame[..frame.len() - 1]), None);
        frame.push(extra);
        prop_assert_eq!(ToKeeper::decode(&frame), None);
    }
}
