"""What the end-to-end tests are made of: real nodes, a small client, recorded histories and the
checker that judges them. Standard library and python3-msgpack only."""
