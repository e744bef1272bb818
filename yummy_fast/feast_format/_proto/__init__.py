"""Messages read from Feast's registry and stores; `*_pb2*` are generated from the .proto files by `make proto`."""
