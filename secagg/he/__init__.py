"""Homomorphic sums over TenSEAL; tenseal is imported when the first key or session is made, not before."""

from secagg.he.bfv import BFVSum
from secagg.he.ckks import CKKSSum
from secagg.he.keys import ClientKeys, OpenerKeys, PublicClientKeys, PublicServerKeys, ServerKeys
from secagg.he.public import PublicBFVSum
from secagg.he.rings import Security

__all__ = [
    "BFVSum",
    "CKKSSum",
    "ClientKeys",
    "OpenerKeys",
    "PublicBFVSum",
    "PublicClientKeys",
    "PublicServerKeys",
    "Security",
    "ServerKeys",
]
