#![cfg_attr(feature = "libfuzzer", no_main)]

voxgate_fuzz::target!(client_address);
