{{ staged("covariates") }}
