// One program for the four Kubernetes components of the lab: they share nearly all their code,
// so one link is a quarter of the disk and of the time. The component is the first argument or
// the name the program was called by.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func component(name string) *cobra.Command {
	switch name {
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		return manager.NewControllerManagerCommand()
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand()
	case "kubelet":
		return kubelet.NewKubeletCommand(context.Background())
	}
	return nil
}

func main() {
	command := component(filepath.Base(os.Args[0]))
	if command == nil && len(os.Args) > 1 {
		// The components read os.Args themselves.
		os.Args = os.Args[1:]
		command = component(os.Args[0])
	}
	if command == nil {
		fmt.Fprintln(os.Stderr, "usage: labk8s kube-apiserver|kube-controller-manager|kube-scheduler|kubelet FLAGS")
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}
