"""The parts of JOSE that the node speaks: JWS, JWK and password-encrypted JWE, each strict."""
