"""Homomorphic sums over TenSEAL; tenseal is imported when the first key or session is made, not before."""

from secagg.he.bfv import BFVSum
from secagg.he.ckks import CKKSSum
from secagg.he.keys import ClientKeys, ServerKeys

__all__ = ["BFVSum", "CKKSSum", "ClientKeys", "ServerKeys"]
