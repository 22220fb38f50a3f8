"""An RSA key without an `openssl` binary: enough for the signing of a test server's tokens, and for nothing else."""

import base64
import secrets

BITS = 2048


def rsa_pem() -> str:
    """A fresh private key in PKCS#1 form."""
    e = 65537
    while True:
        p, q = _prime(BITS // 2), _prime(BITS // 2)
        phi = (p - 1) * (q - 1)
        if p != q and phi % e:
            break
    d = pow(e, -1, phi)
    numbers = (0, p * q, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
    body = b"".join(_integer(number) for number in numbers)
    text = base64.encodebytes(b"\x30" + _length(body) + body).decode()
    return f"-----BEGIN RSA PRIVATE KEY-----\n{text}-----END RSA PRIVATE KEY-----\n"


def _prime(bits: int) -> int:
    while True:
        number = secrets.randbits(bits) | (3 << bits - 2) | 1
        if all(number % small for small in (3, 5, 7, 11, 13, 17, 19, 23)) and _probably_prime(number):
            return number


def _probably_prime(number: int) -> bool:
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(20):
        x = pow(secrets.randbelow(number - 3) + 2, odd, number)
        if x in (1, number - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % number
            if x == number - 1:
                break
        else:
            return False
    return True


def _integer(number: int) -> bytes:
    raw = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return b"\x02" + _length(raw) + raw


def _length(body: bytes) -> bytes:
    size = len(body)
    if size < 128:
        return bytes([size])
    raw = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([128 | len(raw)]) + raw
