# The Nomad agent of compose.yaml: server and client in one, for one machine and for trying out.
# Directories have the same path inside its container and outside, because it is the
# machine's Docker engine that mounts them into runs.
data_dir             = "/srv/disinto/nomad"
bind_addr            = "127.0.0.1"
disable_update_check = true

acl {
  enabled = true
}

client {
  network_interface = "lo"

  options {
    "driver.allowlist"     = "docker"
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }

  # mounts: rendered by make docs

  host_volume "ssh" {
    path      = "/srv/disinto/volumes/ssh"
    read_only = true
  }

  host_volume "gpg" {
    path      = "/srv/disinto/volumes/gpg"
    read_only = true
  }

  host_volume "sops" {
    path      = "/srv/disinto/volumes/sops"
    read_only = true
  }

  host_volume "project-repos" {
    path      = "/srv/disinto/volumes/project-repos"
    read_only = false
  }

  host_volume "ops-repo" {
    path      = "/srv/disinto/volumes/ops-repo"
    read_only = true
  }

  host_volume "agent-data" {
    path      = "/srv/disinto/volumes/agent-data"
    read_only = false
  }
  # end of mounts
}

plugin "docker" {
  config {
    volumes {
      enabled = true
    }

    # Other images and containers of this machine are not Nomad's to remove.
    gc {
      image = false

      dangling_containers {
        enabled = false
      }
    }
  }
}
