"""The directives of nginx 1.22, with what to say of those that have no counterpart."""

DATA = frozenset(("map", "geo", "split_clients", "types", "charset_map"))
"""Directives with a block of other things than directives."""
BLOCKS = DATA | {"http", "server", "location", "upstream", "events", "stream", "limit_except", "if", "mail", "match"}
"""Directives with a block."""

_FAMILIES = {
    "fastcgi_": "FastCGI to a backend: put an HTTP server in front of the application",
    "uwsgi_": "the uwsgi protocol to a backend: let it speak HTTP",
    "scgi_": "SCGI to a backend: put an HTTP server in front of the application",
    "grpc_": "gRPC: only HTTP/1.1 and WebSocket are proxied",
    "memcached_": "answers from memcached: let the backend ask it",
    "gzip": "compression: let the backends compress, which know what is worth it",
    "http2_": "HTTP/2: clients speak HTTP/1.1 here",
    "auth_": "authentication: let the backends do it",
    "limit_req": "a limit of requests: limits.new_per_client bounds new connections of a client address",
    "limit_conn": "a limit of connections: limits.max_connections_per_client bounds those of a client address",
    "limit_rate": "a limit of bandwidth: there is none",
    "proxy_cache": "a cache: let the backends or a CDN cache",
    "proxy_store": "files from answers: let the backends or a CDN do it",
    "proxy_cookie_": "rewrites cookies: let the backends set them right",
    "proxy_next_upstream": "when another server is tried: only if one could not be reached, so nothing is sent twice",
    "ssl_ocsp": "OCSP: client certificates are not asked for",
    "ssl_stapling": "OCSP stapling: not done",
    "sub_filter": "rewrites bodies: let the backends do it",
    "addition_": "rewrites bodies: let the backends do it",
    "add_": "adds to answers: let the backends do it",
    "ssi": "server-side includes: let the backends do it",
    "userid": "cookies that count users: let the backends do it",
    "dav_": "WebDAV files: let a web server serve them",
    "mp4": "serves films: let a web server do it",
    "autoindex": "lists folders: let a web server do it",
    "image_filter": "changes pictures: let a web server do it",
    "perl": "programs in nginx: let the backends do it",
    "js_": "programs in nginx: let the backends do it",
    "xslt_": "transforms bodies: let the backends do it",
    "geoip_": "finds out about addresses: let the backends do it",
    "secure_link": "signed links: let the backends check them",
    "open_": "files kept open: there are none",
    "worker_": "tuning of nginx's processes: nothing to do (descriptors: LimitNOFILE of the service)",
    "variables_": "",
    "types_": "",
    "map_hash_": "",
    "server_names_": "",
    "referer_": "",
    "proxy_headers_hash_": "",
    "preread_": "how much of a connection is read before it is placed: as much as it takes",
}
"""Beginnings of names; an empty message means that there is nothing to tell."""

_BUFFERS = "how answers are buffered: bytes go on as they come, so nothing waits in between"
_FILES = "serves files or answers itself: let a web server do it, as a backend"
_TUNING = "tuning of nginx: nothing to do"
_LOG = "nginx's logs: the access log is JSON on standard output, or in the file named in log.access"
_CLIENT_CERTIFICATES = "certificates of clients: they are not asked for"
_ACCESS = "who may come: let the firewall or the backends decide"
_TLS = "TLS setting: the daemon offers OpenSSL's safe choice"
_RULES = "rules that compute: routes are by host, path and SNI (listener.route); let the backends do the rest"
_SINGLE: dict[str, str] = {}


def _tell(message: str, names: str) -> None:
    _SINGLE.update(dict.fromkeys(names.split(), message))


_tell(
    "",
    "http server location upstream events stream map geo split_clients types if include user pid daemon master_process "
    "worker_processes worker_connections use multi_accept listen server_name ssl_certificate ssl_certificate_key "
    "ssl_protocols ssl proxy_pass proxy_set_header proxy_http_version proxy_connect_timeout proxy_read_timeout "
    "proxy_send_timeout proxy_timeout proxy_ssl proxy_ssl_verify proxy_ssl_name proxy_ssl_trusted_certificate "
    "proxy_ssl_certificate proxy_ssl_certificate_key proxy_ssl_server_name proxy_protocol keepalive_timeout "
    "client_header_timeout client_max_body_size large_client_header_buffers set_real_ip_from real_ip_header "
    "real_ip_recursive hash ip_hash least_conn random zone keepalive keepalive_requests keepalive_time ssl_preread "
    "return default_type sendfile tcp_nopush tcp_nodelay server_tokens aio thread_pool load_module",
)
_tell(
    _BUFFERS,
    "proxy_buffering proxy_buffers proxy_buffer_size proxy_busy_buffers_size proxy_request_buffering output_buffers "
    "proxy_max_temp_file_size proxy_temp_file_write_size proxy_temp_path postpone_output client_body_buffer_size "
    "client_body_in_file_only client_body_in_single_buffer client_body_temp_path client_header_buffer_size "
    "proxy_download_rate proxy_upload_rate proxy_limit_rate proxy_send_lowat",
)
_tell(
    _FILES,
    "root alias index try_files error_page internal empty_gif flv stub_status random_index slice mirror "
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
_tell(_LOG, "access_log error_log log_format rewrite_log")
_tell(_CLIENT_CERTIFICATES, "ssl_client_certificate ssl_verify_client ssl_verify_depth ssl_crl ssl_trusted_certificate")
_tell(_ACCESS, "allow deny satisfy valid_referers limit_except")
_tell(
    _TLS,
    "ssl_ciphers ssl_prefer_server_ciphers ssl_session_cache ssl_session_timeout ssl_session_tickets ssl_dhparam "
    "ssl_session_ticket_key ssl_ecdh_curve ssl_early_data ssl_conf_command ssl_reject_handshake ssl_handshake_timeout "
    "ssl_alpn proxy_ssl_ciphers proxy_ssl_protocols proxy_ssl_session_reuse proxy_ssl_verify_depth proxy_ssl_crl "
    "proxy_ssl_conf_command",
)
_tell(_RULES, "rewrite set break")
_tell("a key with a passphrase: the daemon wants one without", "ssl_password_file proxy_ssl_password_file")
_tell(
    "changes what is passed on: requests and answers go on as they are",
    "proxy_hide_header proxy_pass_header proxy_ignore_headers proxy_method proxy_set_body proxy_pass_request_body "
    "proxy_pass_request_headers proxy_redirect proxy_force_ranges proxy_intercept_errors proxy_no_cache",
)
_tell("the backend is told when a client leaves: always so", "proxy_ignore_client_abort")
_tell("how slow a client may be: timeouts.idle bounds the wait for its next bytes", "client_body_timeout send_timeout")
_tell("mail: it is not proxied", "mail")
_tell("a half-closed connection: it is kept half-closed until both sides have ended", "proxy_half_close")
_tell("how many requests: connections are kept as long as both sides like", "proxy_requests proxy_responses")
_tell("the state of upstreams in a file: pins, drains and weights are kept in state_dir", "state")
_tell("asks for a file of names: names are resolved once, on import", "resolve")
_tell("health checks of nginx Plus: pool.health probes backends", "health_check match")

NAMES = sorted(_SINGLE)
"""For hints."""


def meaning(name: str) -> str | None:
    """What the directive did and what to do instead; empty if there is nothing to tell, None if there is no such."""
    if name in _SINGLE:
        return _SINGLE[name]
    return next((message for prefix, message in _FAMILIES.items() if name.startswith(prefix)), None)
