"""The directives of nginx 1.22, with a message for each that has no counterpart."""

from balancer.migrate.outcome import Effect

DATA = frozenset(("map", "geo", "split_clients", "types", "charset_map"))
"""Directives whose block does not contain directives."""
BLOCKS = DATA | {"http", "server", "location", "upstream", "events", "stream", "limit_except", "if", "mail", "match"}
"""Directives with a block."""

_FAMILIES = {
    "fastcgi_": "FastCGI is not supported: put an HTTP server in front of the application",
    "uwsgi_": "the uwsgi protocol is not supported: let the backend speak HTTP",
    "scgi_": "SCGI is not supported: put an HTTP server in front of the application",
    "grpc_": "gRPC is not supported: only HTTP/1.1 and WebSocket are",
    "memcached_": "answers from memcached: let the backend query it",
    "gzip": "compression: let the backends compress",
    "http3_": "HTTP/3 is not supported: clients use HTTP/1.1",
    "quic_": "HTTP/3 is not supported: clients use HTTP/1.1",
    "http2_": "HTTP/2 is not supported: clients use HTTP/1.1",
    "auth_": "authentication: let the backends do it",
    "limit_req": "limits requests; limits.client_rate limits new connections of a client address",
    "limit_conn": "limits connections: see limits.max_connections_per_client",
    "limit_rate": "limits bandwidth: not supported",
    "proxy_cache": "caching is not supported: let the backends or a CDN cache",
    "proxy_store": "stores answers in files: let the backends or a CDN do it",
    "proxy_cookie_": "rewrites cookies: let the backends set the final ones",
    "proxy_next_upstream": "when to try another server: see pool.retry",
    "ssl_ocsp_": "OCSP for client certificates is not supported: see listener.tls.client_crl",
    "ssl_stapling": "OCSP stapling is not supported",
    "sub_filter": "rewrites bodies: let the backends do it",
    "addition_": "rewrites bodies: let the backends do it",
    "add_": "adds to answers: let the backends do it",
    "ssi": "server-side includes: let the backends do it",
    "userid": "sets cookies that identify users: let the backends do it",
    "dav_": "WebDAV files: let a web server serve them",
    "mp4": "serves videos: let a web server do it",
    "autoindex": "lists directories: let a web server do it",
    "image_filter": "converts images: let a web server do it",
    "perl": "runs programs in nginx: let the backends do it",
    "js_": "runs programs in nginx: let the backends do it",
    "xslt_": "transforms bodies: let the backends do it",
    "geoip_": "looks up locations of addresses: let the backends do it",
    "secure_link": "signed links: let the backends check them",
    "open_": "caches open files: the daemon serves none",
    "worker_": "tuning of nginx's processes: nothing to do (descriptors: LimitNOFILE of the service)",
    "variables_": "",
    "types_": "",
    "map_hash_": "",
    "server_names_": "",
    "referer_": "",
    "proxy_headers_hash_": "",
    "preread_": "how much is read before a connection is placed: as much as needed",
}
"""Prefixes of names. Directives with an empty message are not reported."""

_BUFFERS = "buffering: the daemon passes bytes on as they arrive"
_FILES = "serves files or answers itself: use a web server as a backend"
_TUNING = "tuning of nginx: nothing to do"
_LOG = "nginx's own messages, and formats of its logs: see log.access_format"
_ACCESS = "access control: use a firewall or the backends"
_TLS = "TLS setting: the daemon uses OpenSSL's secure defaults"
_RULES = (
    "rewrite rules are not supported: routes match host, path and SNI (listener.route); move the rest to the backends"
)
_SINGLE: dict[str, str] = {}


def _tell(message: str, names: str) -> None:
    _SINGLE.update(dict.fromkeys(names.split(), message))


_tell(
    "",
    "http server location upstream events stream map if include "
    "worker_processes worker_connections listen server_name ssl_certificate ssl_certificate_key "
    "ssl_protocols ssl proxy_pass proxy_set_header proxy_connect_timeout proxy_read_timeout "
    "proxy_timeout proxy_ssl proxy_ssl_verify proxy_ssl_name proxy_ssl_trusted_certificate "
    "proxy_ssl_certificate proxy_ssl_certificate_key proxy_protocol keepalive_timeout "
    "client_header_timeout client_max_body_size large_client_header_buffers set_real_ip_from real_ip_header "
    "hash ip_hash least_conn random return load_module server_tokens ssl_preread",
)
_tell(
    "how nginx runs: nothing to do, systemd/balancer.service says it here",
    "user pid daemon master_process thread_pool use multi_accept",
)
_tell("how nginx reads and sends: nothing to do", "sendfile tcp_nopush tcp_nodelay aio")
_tell("types of files: nothing to do, the daemon serves none", "types default_type")
_tell("connections that are kept: nothing to do, idle ones to backends are always reused", "keepalive zone")
_tell("ends kept connections: nothing to do, there is no such limit", "keepalive_requests keepalive_time")
_tell("protocol to backends: nothing to do, it is HTTP/1.1", "proxy_http_version")
_tell("for a backend to take a request: nothing to do, see timeouts.send", "proxy_send_timeout")
_tell("whether backends get the name: nothing to do, they always do", "proxy_ssl_server_name")
_tell("computes variables: nothing to do, what uses them is reported where it does", "geo split_clients")
_tell("which address of a field is the client's: the connection or its PROXY header says it here", "real_ip_recursive")
_tell(
    _BUFFERS,
    "proxy_buffering proxy_buffers proxy_buffer_size proxy_busy_buffers_size proxy_request_buffering output_buffers "
    "proxy_max_temp_file_size proxy_temp_file_write_size proxy_temp_path postpone_output client_body_buffer_size "
    "client_body_in_file_only client_body_in_single_buffer client_body_temp_path client_header_buffer_size "
    "proxy_download_rate proxy_upload_rate proxy_limit_rate proxy_send_lowat",
)
_tell(
    _FILES,
    "alias try_files empty_gif flv stub_status random_index slice mirror "
    "mirror_request_body post_action recursive_error_pages expires etag if_modified_since max_ranges directio "
    "directio_alignment disable_symlinks sendfile_max_chunk read_ahead create_full_put_path min_delete_depth "
    "log_not_found log_subrequest charset charset_map charset_types override_charset source_charset gunzip "
    "gunzip_buffers chunked_transfer_encoding msie_padding msie_refresh absolute_redirect port_in_redirect "
    "server_name_in_redirect subrequest_output_buffer_size",
)
_tell(
    _TUNING,
    "accept_mutex accept_mutex_delay aio_write connection_pool_size request_pool_size debug_connection debug_points "
    "env epoll_events lock_file pcre_jit timer_resolution working_directory ssl_engine ssl_buffer_size lingering_close "
    "lingering_time lingering_timeout reset_timedout_connection resolver resolver_timeout keepalive_disable send_lowat "
    "proxy_socket_keepalive proxy_bind ancient_browser ancient_browser_value modern_browser modern_browser_value "
    "ignore_invalid_headers underscores_in_headers merge_slashes uninitialized_variable_warn events_",
)
_tell(_LOG, "error_log log_format rewrite_log")
_tell("", "access_log")
_tell("", "ssl_client_certificate ssl_crl ssl_trusted_certificate ssl_ocsp")
_tell("how many authorities a chain may have: nothing to do, there is no such limit", "ssl_verify_depth")
_tell("where files are: nothing to do, requests that they answered are reported at their location", "root index")
_tell(
    "", "sticky error_page allow deny satisfy limit_except internal ssl_verify_client auth_basic auth_request auth_jwt"
)
_tell("", "add_header proxy_hide_header client_body_timeout")
_tell("HTTP/2 is not supported: clients use HTTP/1.1", "http2")
_tell("HTTP/3 is not supported: clients use HTTP/1.1", "http3")
_tell(_ACCESS, "valid_referers")
_tell(
    _TLS,
    "ssl_ciphers ssl_prefer_server_ciphers ssl_session_cache ssl_session_timeout ssl_session_tickets ssl_dhparam "
    "ssl_session_ticket_key ssl_ecdh_curve ssl_early_data ssl_conf_command ssl_reject_handshake ssl_handshake_timeout "
    "ssl_alpn proxy_ssl_ciphers proxy_ssl_protocols proxy_ssl_session_reuse proxy_ssl_verify_depth proxy_ssl_crl "
    "proxy_ssl_conf_command",
)
_tell(_RULES, "rewrite set break")
_tell("keys with a passphrase are not supported: remove the passphrase", "ssl_password_file proxy_ssl_password_file")
_tell(
    "changes requests or answers: they are passed on unchanged",
    "proxy_pass_header proxy_ignore_headers proxy_method proxy_set_body proxy_pass_request_body "
    "proxy_pass_request_headers proxy_redirect proxy_force_ranges proxy_intercept_errors proxy_no_cache",
)
_tell("whether a backend notices that its client left: it always does", "proxy_ignore_client_abort")
_tell("for a client to take an answer: see timeouts.send, for it to acknowledge more", "send_timeout")
_tell("mail is not supported", "mail")
_tell("half-closed connections are always kept until both sides have ended", "proxy_half_close")
_tell("requests per connection: there is no limit", "proxy_requests proxy_responses")
_tell("the state of upstreams in a file: state_dir keeps pins, drains and weights", "state")
_tell("resolves names at run time: names are resolved once, on import", "resolve")
_tell("health checks of nginx Plus: see pool.health", "health_check match")

NAMES = sorted(_SINGLE)
"""Used for hints."""


def meaning(name: str) -> str | None:
    """Return what a directive did and what to do instead; empty if that is nothing, None if it is unknown."""
    if name in _SINGLE:
        return _SINGLE[name]
    return next((message for prefix, message in _FAMILIES.items() if name.startswith(prefix)), None)


def effect(message: str) -> Effect:
    """Return what it means for requests that the directive with this message was left out."""
    if "clients use HTTP/1.1" in message:
        return Effect.CHANGED
    harmless = message in (_BUFFERS, _TUNING, _LOG, _TLS) or "nothing to do" in message or "tuning" in message
    return Effect.NONE if harmless else Effect.TRAFFIC
