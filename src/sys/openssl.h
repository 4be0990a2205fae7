/* OpenSSL, loaded when TLS is first spoken (library.h).  Whoever calls another of its
   functions adds it twice; the linker misses it else. */
#ifndef LULL_OPENSSL_H
#define LULL_OPENSSL_H

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "library.h"

#ifdef LULL_LOAD_OPENSSL

#define SYS_OPENSSL(X) \
    X(BIO_clear_flags) X(BIO_ctrl) X(BIO_free) X(BIO_get_data) X(BIO_meth_free) \
    X(BIO_meth_new) X(BIO_meth_set_create) X(BIO_meth_set_ctrl) X(BIO_meth_set_read) \
    X(BIO_meth_set_write) X(BIO_new) X(BIO_s_mem) X(BIO_set_data) X(BIO_set_flags) \
    X(BIO_set_init) X(ERR_clear_error) X(ERR_get_error) X(ERR_new) X(ERR_peek_error) \
    X(ERR_reason_error_string) X(ERR_set_debug) X(ERR_set_error) X(EVP_Digest) \
    X(EVP_sha256) X(PEM_write_bio_X509) X(SSL_CIPHER_get_name) \
    X(SSL_CTX_callback_ctrl) X(SSL_CTX_check_private_key) X(SSL_CTX_ctrl) \
    X(SSL_CTX_free) X(SSL_CTX_load_verify_dir) X(SSL_CTX_load_verify_file) \
    X(SSL_CTX_new) X(SSL_CTX_sess_set_new_cb) X(SSL_CTX_set_alpn_protos) \
    X(SSL_CTX_set_alpn_select_cb) X(SSL_CTX_set_cipher_list) \
    X(SSL_CTX_set_ciphersuites) X(SSL_CTX_set_client_CA_list) \
    X(SSL_CTX_set_default_passwd_cb) X(SSL_CTX_set_default_read_buffer_len) \
    X(SSL_CTX_set_default_verify_paths) X(SSL_CTX_set_options) \
    X(SSL_CTX_set_session_id_context) X(SSL_CTX_set_verify) \
    X(SSL_CTX_use_PrivateKey_file) X(SSL_CTX_use_certificate_chain_file) \
    X(SSL_SESSION_free) X(SSL_SESSION_get_protocol_version) X(SSL_SESSION_get_time) \
    X(SSL_SESSION_get_timeout) X(SSL_SESSION_is_resumable) X(SSL_SESSION_up_ref) \
    X(SSL_ctrl) X(SSL_do_handshake) X(SSL_free) X(SSL_get0_alpn_selected) \
    X(SSL_get0_param) X(SSL_get0_peer_certificate) X(SSL_get_current_cipher) \
    X(SSL_get_error) X(SSL_get_ex_data) X(SSL_get_servername) X(SSL_get_shutdown) \
    X(SSL_get_verify_result) X(SSL_get_version) X(SSL_load_client_CA_file) X(SSL_new) \
    X(SSL_read_ex) X(SSL_select_next_proto) X(SSL_session_reused) X(SSL_set1_host) \
    X(SSL_set_accept_state) X(SSL_set_bio) X(SSL_set_connect_state) X(SSL_set_ex_data) \
    X(SSL_set_hostflags) X(SSL_set_session) X(SSL_shutdown) X(SSL_write_ex) \
    X(TLS_client_method) X(TLS_server_method) X(X509_VERIFY_PARAM_set1_ip_asc) \
    X(X509_verify_cert_error_string)

extern struct sys_openssl {
    SYS_OPENSSL(LULL_LIBRARY_ENTRY)
} sys_openssl;

#define BIO_clear_flags sys_openssl.BIO_clear_flags
#define BIO_ctrl sys_openssl.BIO_ctrl
#define BIO_free sys_openssl.BIO_free
#define BIO_get_data sys_openssl.BIO_get_data
#define BIO_meth_free sys_openssl.BIO_meth_free
#define BIO_meth_new sys_openssl.BIO_meth_new
#define BIO_meth_set_create sys_openssl.BIO_meth_set_create
#define BIO_meth_set_ctrl sys_openssl.BIO_meth_set_ctrl
#define BIO_meth_set_read sys_openssl.BIO_meth_set_read
#define BIO_meth_set_write sys_openssl.BIO_meth_set_write
#define BIO_new sys_openssl.BIO_new
#define BIO_s_mem sys_openssl.BIO_s_mem
#define BIO_set_data sys_openssl.BIO_set_data
#define BIO_set_flags sys_openssl.BIO_set_flags
#define BIO_set_init sys_openssl.BIO_set_init
#define ERR_clear_error sys_openssl.ERR_clear_error
#define ERR_get_error sys_openssl.ERR_get_error
#define ERR_new sys_openssl.ERR_new
#define ERR_peek_error sys_openssl.ERR_peek_error
#define ERR_reason_error_string sys_openssl.ERR_reason_error_string
#define ERR_set_debug sys_openssl.ERR_set_debug
#define ERR_set_error sys_openssl.ERR_set_error
#define EVP_Digest sys_openssl.EVP_Digest
#define EVP_sha256 sys_openssl.EVP_sha256
#define PEM_write_bio_X509 sys_openssl.PEM_write_bio_X509
#define SSL_CIPHER_get_name sys_openssl.SSL_CIPHER_get_name
#define SSL_CTX_callback_ctrl sys_openssl.SSL_CTX_callback_ctrl
#define SSL_CTX_check_private_key sys_openssl.SSL_CTX_check_private_key
#define SSL_CTX_ctrl sys_openssl.SSL_CTX_ctrl
#define SSL_CTX_free sys_openssl.SSL_CTX_free
#define SSL_CTX_load_verify_dir sys_openssl.SSL_CTX_load_verify_dir
#define SSL_CTX_load_verify_file sys_openssl.SSL_CTX_load_verify_file
#define SSL_CTX_new sys_openssl.SSL_CTX_new
#define SSL_CTX_sess_set_new_cb sys_openssl.SSL_CTX_sess_set_new_cb
#define SSL_CTX_set_alpn_protos sys_openssl.SSL_CTX_set_alpn_protos
#define SSL_CTX_set_alpn_select_cb sys_openssl.SSL_CTX_set_alpn_select_cb
#define SSL_CTX_set_cipher_list sys_openssl.SSL_CTX_set_cipher_list
#define SSL_CTX_set_ciphersuites sys_openssl.SSL_CTX_set_ciphersuites
#define SSL_CTX_set_client_CA_list sys_openssl.SSL_CTX_set_client_CA_list
#define SSL_CTX_set_default_passwd_cb sys_openssl.SSL_CTX_set_default_passwd_cb
#define SSL_CTX_set_default_read_buffer_len sys_openssl.SSL_CTX_set_default_read_buffer_len
#define SSL_CTX_set_default_verify_paths sys_openssl.SSL_CTX_set_default_verify_paths
#define SSL_CTX_set_options sys_openssl.SSL_CTX_set_options
#define SSL_CTX_set_session_id_context sys_openssl.SSL_CTX_set_session_id_context
#define SSL_CTX_set_verify sys_openssl.SSL_CTX_set_verify
#define SSL_CTX_use_PrivateKey_file sys_openssl.SSL_CTX_use_PrivateKey_file
#define SSL_CTX_use_certificate_chain_file sys_openssl.SSL_CTX_use_certificate_chain_file
#define SSL_SESSION_free sys_openssl.SSL_SESSION_free
#define SSL_SESSION_get_protocol_version sys_openssl.SSL_SESSION_get_protocol_version
#define SSL_SESSION_get_time sys_openssl.SSL_SESSION_get_time
#define SSL_SESSION_get_timeout sys_openssl.SSL_SESSION_get_timeout
#define SSL_SESSION_is_resumable sys_openssl.SSL_SESSION_is_resumable
#define SSL_SESSION_up_ref sys_openssl.SSL_SESSION_up_ref
#define SSL_ctrl sys_openssl.SSL_ctrl
#define SSL_do_handshake sys_openssl.SSL_do_handshake
#define SSL_free sys_openssl.SSL_free
#define SSL_get0_alpn_selected sys_openssl.SSL_get0_alpn_selected
#define SSL_get0_param sys_openssl.SSL_get0_param
#define SSL_get0_peer_certificate sys_openssl.SSL_get0_peer_certificate
#define SSL_get_current_cipher sys_openssl.SSL_get_current_cipher
#define SSL_get_error sys_openssl.SSL_get_error
#define SSL_get_ex_data sys_openssl.SSL_get_ex_data
#define SSL_get_servername sys_openssl.SSL_get_servername
#define SSL_get_shutdown sys_openssl.SSL_get_shutdown
#define SSL_get_verify_result sys_openssl.SSL_get_verify_result
#define SSL_get_version sys_openssl.SSL_get_version
#define SSL_load_client_CA_file sys_openssl.SSL_load_client_CA_file
#define SSL_new sys_openssl.SSL_new
#define SSL_read_ex sys_openssl.SSL_read_ex
#define SSL_select_next_proto sys_openssl.SSL_select_next_proto
#define SSL_session_reused sys_openssl.SSL_session_reused
#define SSL_set1_host sys_openssl.SSL_set1_host
#define SSL_set_accept_state sys_openssl.SSL_set_accept_state
#define SSL_set_bio sys_openssl.SSL_set_bio
#define SSL_set_connect_state sys_openssl.SSL_set_connect_state
#define SSL_set_ex_data sys_openssl.SSL_set_ex_data
#define SSL_set_hostflags sys_openssl.SSL_set_hostflags
#define SSL_set_session sys_openssl.SSL_set_session
#define SSL_shutdown sys_openssl.SSL_shutdown
#define SSL_write_ex sys_openssl.SSL_write_ex
#define TLS_client_method sys_openssl.TLS_client_method
#define TLS_server_method sys_openssl.TLS_server_method
#define X509_VERIFY_PARAM_set1_ip_asc sys_openssl.X509_VERIFY_PARAM_set1_ip_asc
#define X509_verify_cert_error_string sys_openssl.X509_verify_cert_error_string

#endif
#endif
