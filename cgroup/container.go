package cgroup

import "strings"

// A Container is what the name of a group says about the container that runs
// in it. All strings may be empty.
type Container struct {
	ID      string // 64 hex digits, or the ECS task's form
	Runtime string // "docker", "containerd", "cri-o", "podman", "ecs"; "" when the name does not tell
	PodUID  string // of a Kubernetes pod, as the API server writes it
}

// ParseContainer reads a container's ID and a pod's UID from the path of a
// cgroup. The innermost container wins, so for Kubernetes inside Docker it is
// the pod's. It knows the names that Docker, containerd, CRI-O, Podman, ECS and
// the kubelet give, with the cgroupfs driver and with systemd:
//
//	/docker/ID
//	/system.slice/docker-ID.scope
//	/kubepods/burstable/podUID/ID
//	/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID.slice/cri-containerd-ID.scope
//	/system.slice/containerd.service/kubepods-burstable-podUID.slice:cri-containerd:ID
//	/machine.slice/libpod-ID.scope/container
//	/ecs/TASK/ID
func ParseContainer(path string) Container {
	var c Container
	parent := ""
	for name := range strings.SplitSeq(path, "/") {
		if uid, ok := podUID(name); ok {
			c = Container{PodUID: uid}
		}
		if id, runtime, ok := containerID(name, parent); ok {
			c.ID, c.Runtime = id, runtime
		}
		parent = name
	}
	return c
}

// podUID parses podUID, kubepods-burstable-podUID.slice, and what begins so.
func podUID(name string) (string, bool) {
	name, _, _ = strings.Cut(name, ":")
	rest, slice := strings.CutSuffix(name, ".slice")
	i := strings.LastIndex(rest, "pod")
	if i < 0 || (i > 0 && (!slice || rest[i-1] != '-')) {
		return "", false
	}
	// systemd gives "-" a meaning in the name of a slice, so the kubelet writes "_".
	uid := strings.ReplaceAll(rest[i+3:], "_", "-")
	switch {
	case isHex(uid, 32): // a static pod's
		return uid, true
	case len(uid) == 36 && uid[8] == '-' && uid[13] == '-' && uid[18] == '-' && uid[23] == '-' && isHex(strings.ReplaceAll(uid, "-", ""), 32):
		return uid, true
	}
	return "", false
}

func containerID(name, parent string) (id, runtime string, ok bool) {
	name = strings.TrimSuffix(name, ".scope")
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		// SLICE:PREFIX:ID
		_, prefix, _ := strings.Cut(name[:i], ":")
		if isHex(name[i+1:], 64) {
			return name[i+1:], runtimes[prefix], true
		}
	}
	if isHex(name, 64) {
		switch {
		case parent == "docker":
			runtime = "docker"
		case parent == "libpod_parent":
			runtime = "podman"
		}
		return name, runtime, true
	}
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		prefix, rest := name[:i], name[i+1:]
		// The conmon of a container is not in the container.
		if isHex(rest, 64) && !strings.HasSuffix(prefix, "-conmon") {
			return rest, runtimes[prefix], true
		}
		// ECS on Fargate: TASK-NUMBER below TASK.
		if _, number := parseUint([]byte(rest)); number && prefix == parent && isHex(prefix, 32) {
			return name, "ecs", true
		}
	}
	return "", "", false
}

var runtimes = map[string]string{
	"docker":         "docker",
	"cri-containerd": "containerd",
	"containerd":     "containerd",
	"nerdctl":        "containerd",
	"crio":           "cri-o",
	"libpod":         "podman",
}

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// containerFromRoot takes what it can from the root of a mount inside the
// container: runtimes and the kubelet bind files of theirs over /etc/hosts and
// the like. It helps where the path of the group is only "/".
func (c *Container) fromRoot(root string) {
	if _, rest, ok := strings.Cut(root, "/containers/"); ok && c.ID == "" {
		// /var/lib/docker/containers/ID/hostname
		if id, file, _ := strings.Cut(rest, "/"); isHex(id, 64) && (file == "hostname" || file == "hosts" || file == "resolv.conf") {
			c.ID, c.Runtime = id, "docker"
		}
	}
	if _, rest, ok := strings.Cut(root, "/pods/"); ok && c.PodUID == "" {
		// /var/lib/kubelet/pods/UID/etc-hosts
		if uid, file, _ := strings.Cut(rest, "/"); file == "etc-hosts" {
			c.PodUID, _ = podUID("pod" + uid)
		}
	}
}
