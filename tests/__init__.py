"""The tests mirror the modules; what needs several of them has a folder: contract, property, server, conformance."""
