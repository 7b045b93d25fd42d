"""How large TenSEAL's ciphertexts are, and how precise."""
