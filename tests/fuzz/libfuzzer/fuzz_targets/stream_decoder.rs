#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    evenkeel_fuzz::stream_decoder(input);
});
