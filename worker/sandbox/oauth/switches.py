"""Behaviour of the token server that public pages leave open, or that depends on how an app is registered."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Switches:
    """One answer per question; each comment says what True (or the value) means."""

    auto_consent: bool = False  # every page is skipped, as if everybody had allowed at once
    plain_pkce_refused: bool = False  # code_challenge_method=plain is an invalid_request
    # a refresh token that was rotated is dead, and its second use revokes all that came from that consent
    rotated_tokens_die: bool = False
    code_reuse_revokes: bool = True  # a code redeemed twice takes back what the first time gave
    # asking for an e-mail scope grants openid too (Google is seen to do it, no page says so)
    email_adds_openid: bool = True
    refresh_gives_id_token: bool = True  # with openid, also the answer to a refresh has an id_token
    # an app in "Testing": refresh tokens die so long after the issue whatever their use; 0: no such end
    refresh_token_life_s: float = 0.0
    refresh_token_life_told: bool = False  # … and the answer says refresh_token_expires_in
    # the consent wall sends the user back at once; False: shows its page first
    wall_redirects: bool = False
    # … with AADSTS65001 (nobody consented) in place of AADSTS90094 (an administrator is needed)
    wall_asks_for_consent: bool = False
    # a new consent for what the user had already allowed hands out a refresh token again without prompt
    repeated_consent_gives_refresh_token: bool = False
