"""Facts and pure functions that the ceremony and the issuing node must agree on."""
